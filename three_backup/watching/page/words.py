"""Times and sizes of the page, in words."""

from datetime import datetime, tzinfo

from three_backup.deciding.due import Clock
from three_backup.model.kept import Kept
from three_backup.model.snapshots import rfc3339
from three_backup.screen import formats
from three_backup.watching.page.history import Point
from three_backup.watching.page.markup import Markup, element


def moment(time: datetime, zone: tzinfo, now: datetime) -> str:
    """Format a time of the zone: `3 Nov 03:00`, with the year if it is another one."""
    local, today = time.astimezone(zone), now.astimezone(zone)
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local.day} {local:%b}{year} {local:%H:%M}"


def ago(time: datetime | None, clock: Clock) -> Markup:
    """Return how long ago the time was; the time itself is a tooltip, and for programs."""
    if time is None:
        return element("span", "never")
    return element(
        "time",
        f"{formats.age(time, clock.now)} ago",
        datetime=rfc3339(time),
        title=moment(time, clock.zone, clock.now),
    )


def at(time: datetime, clock: Clock) -> Markup:
    """Return the time, by the clock of the zone."""
    return element("time", moment(time, clock.zone, clock.now), datetime=rfc3339(time))


def places(point: Point, kept: Kept) -> str:
    """Say where a snapshot lies."""
    here = "in the source" if kept is Kept.POINTS else "on this host"
    lying = (("in S3", point.stored.s3), (here, point.stored.local))
    return " and ".join(place for place, lies in lying if lies)


def remarks(point: Point, clock: Clock) -> list[str]:
    """Return what else there is to say of a snapshot."""
    found = [] if point.is_whole else ["cannot be restored"]
    if point.hold is not None:
        until, reason = point.hold.until, point.hold.reason
        how_long = f"until {moment(until, clock.zone, clock.now)}" if until else "for ever"
        found.append(f"held {how_long}" + (f": {reason}" if reason else ""))
    return found


def described(point: Point, kept: Kept, clock: Clock) -> str:
    """Describe a snapshot in a line."""
    facts = [
        f"{point.stored.id.kind} of {moment(point.time, clock.zone, clock.now)}",
        places(point, kept),
        "" if point.sizes is None else formats.size(point.sizes.stored),
        *remarks(point, clock),
    ]
    return ", ".join(fact for fact in facts if fact)
