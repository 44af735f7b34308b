"""Times as people read and write them: on the clocks of a time zone, with its name."""

from contextlib import suppress
from datetime import UTC, datetime, tzinfo


def local(time: datetime, zone: tzinfo) -> str:
    """Format a time in whole seconds: `2026-11-29 22:20:30 CET`.

    The name tells the two passes of an hour apart that occurs twice.
    """
    return spoken(time.replace(microsecond=0).astimezone(zone))


def spoken(time: datetime) -> str:
    """Format a time in the zone that it carries, with the microseconds that it has."""
    return f"{time.replace(tzinfo=None).isoformat(sep=' ')} {time.tzname()}"


def local_minute(time: datetime, zone: tzinfo) -> str:
    """Format a time beside something that tells its year: `11-29 22:20 CET`."""
    there = time.astimezone(zone)
    return f"{there:%m-%d %H:%M} {there.tzname()}"


def parsed(text: str, zone: tzinfo) -> datetime:
    """Parse ISO 8601, or what `local` wrote; a time that names no zone is one of this zone.

    Raises ValueError.
    """
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=zone)
    wall, _, name = text.rpartition(" ")
    time = datetime.fromisoformat(wall)
    if time.tzinfo is None:
        for named in (
            time.replace(tzinfo=own, fold=fold) for own in (zone, UTC) for fold in (0, 1)
        ):
            if named.tzname() == name:
                return named
    raise ValueError(f"{name} is not the name of the time zone then")
