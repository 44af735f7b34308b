"""The card of one carrier: how it stands, its time line, and its snapshots in words."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from three_backup.deciding.due import Clock
from three_backup.model.kept import Kept
from three_backup.screen import formats
from three_backup.sources.logged import Log
from three_backup.watching.health import Health
from three_backup.watching.overview import WatchedCarrier
from three_backup.watching.page import lanes
from three_backup.watching.page.history import History
from three_backup.watching.page.markup import Markup, element, joined
from three_backup.watching.page.scale import Scale
from three_backup.watching.page.tables import objects, snapshots
from three_backup.watching.page.words import ago, at

_HERE = {Kept.FOLDERS: "On this host", Kept.POINTS: "In the source"}


def card(history: History, clock: Clock) -> Markup:
    watched = history.watched
    return element(
        "article",
        element("header", badge(watched), element("h3", name(watched.carrier))),
        _troubles(watched),
        element("dl", *_facts(history, clock)),
        *([_time_line(history, clock)] if history.points else []),
        *snapshots(history, clock),
        *objects(history, clock),
        class_=state(watched),
    )


def row(watched: WatchedCarrier, clock: Clock) -> Markup:
    """Return a carrier in one line, for those that are too many for a card."""
    health = watched.health
    newest = health.chain.newest if health.chain else None
    return element(
        "li",
        badge(watched),
        element("span", name(watched.carrier), class_="name"),
        element("span", "newest ", ago(newest, clock)),
        element("span", "in S3 ", ago(health.uploaded, clock)),
        element("span", "proved ", ago(_proved(watched), clock)),
    )


def badge(watched: WatchedCarrier) -> Markup:
    return element("span", state(watched), class_=f"state {state(watched)}")


def state(watched: WatchedCarrier) -> str:
    if watched.gone:
        return "gone"
    return "off" if watched.disabled else watched.health.level.name.lower()


def name(text: str) -> Markup:
    """Return an id, which may be broken behind each slash, whatever direction it is written in."""
    parts = text.split("/")
    pieces = [part for piece in parts for part in (piece, "/", Markup("<wbr>"))]
    return element("bdi", *pieces[:-2], class_="id")


def _troubles(watched: WatchedCarrier) -> Markup:
    prefix = f"{watched.carrier}: "
    told = (trouble.replace(prefix, "", 1) for trouble in watched.health.troubles)
    items = [element("li", trouble) for trouble in told]
    return element("ul", *items, class_="troubles") if items else Markup()


def _facts(history: History, clock: Clock) -> Iterator[Markup]:
    watched = history.watched
    health = watched.health
    yield _fact("Newest", ago(health.chain.newest if health.chain else None, clock))
    yield _fact("In S3", ago(health.uploaded, clock))
    yield _fact("Next", _next(health, clock))
    yield _fact("Restorable", *_restorable(history, clock), class_="wide")
    yield _fact("Proved", ago(_proved(watched), clock), *_how_many_proved(watched))
    if len(history.points) == 1 and (sizes := history.points[0].sizes):
        yield _fact("Size", formats.size(sizes.source))


def _fact(term: str, *description: str, class_: str | None = None) -> Markup:
    return element("div", element("dt", term), element("dd", *description), class_=class_)


def _restorable(history: History, clock: Clock) -> list[str]:
    log = history.watched.log
    if log is not None and log.windows:
        return _any_second(log, clock)
    whole = [point.time for point in history.points if point.is_whole]
    if not whole:
        return ["nothing"]
    older = f", and {history.older} older" if history.older else ""
    return [f"{formats.counted(len(whole), 'moment')} since ", at(whole[0], clock), older]


def _any_second(log: Log, clock: Clock) -> list[str]:
    first, last = log.windows[0], log.windows[-1]
    gaps = f", but for {formats.counted(len(log.gaps), 'gap')}" if log.gaps else ""
    return ["any second from ", at(first.since, clock), " to ", at(last.until, clock), gaps]


def _proved(watched: WatchedCarrier) -> datetime | None:
    return max(watched.proved.values(), default=None)


def _how_many_proved(watched: WatchedCarrier) -> Sequence[str]:
    proved, count = len(watched.proved), len(watched.objects)
    return [f", {proved} of {count} objects"] if proved and count > 1 else []


def _next(health: Health, clock: Clock) -> str:
    times = ((health.next_incremental, "incremental"), (health.next_base, "base"))
    due = min(((time, kind) for time, kind in times if time is not None), default=None)
    return f"{due[1]} in {formats.age(clock.now, due[0])}" if due else "nothing is due"


def _time_line(history: History, clock: Clock) -> Markup:
    scale = Scale.of([point.time for point in history.points], clock.now)
    return element("div", *_lanes(history, scale, clock), class_="lanes")


def _lanes(history: History, scale: Scale, clock: Clock) -> Iterator[Markup]:
    points, log = history.points, history.watched.log
    in_s3 = any(point.stored.s3 for point in points)
    if in_s3:
        drawn = lanes.marks(
            history, scale, clock, lambda point: point.stored.s3, history.missed, "in S3"
        )
        yield _lane("In S3", drawn)
    if any(point.stored.local for point in points):
        label = _HERE.get(history.kept, "On this host")
        missed = () if in_s3 else history.missed
        drawn = lanes.marks(
            history, scale, clock, lambda point: point.stored.local, missed, label.lower()
        )
        yield _lane(label, drawn)
    if log is not None and log.windows:
        yield _lane("Any second", lanes.band(log, scale, clock))
    yield from _of_sizes(history, scale, clock)
    yield _lane("", lanes.axis(scale, clock))


def _of_sizes(history: History, scale: Scale, clock: Clock) -> Iterator[Markup]:
    sizes = [
        point.sizes.source for point in history.points if point.sizes and scale.shows(point.time)
    ]
    if len(sizes) > 1:
        yield _lane(
            "Size", lanes.curve(history.points, scale, clock), f"now {formats.size(sizes[-1])}"
        )
    increments = [
        point.sizes.stored
        for point in history.points
        if point.sizes and not point.is_base and scale.shows(point.time)
    ]
    if increments:
        most = f"up to {formats.size(max(increments))}"
        yield _lane("Incrementals", lanes.bars(history.points, scale, clock), most)


def _lane(label: str, drawn: Markup, note: str = "") -> Markup:
    words = [label, *([element("small", note)] if note else [])]
    return joined([element("span", *words, class_="label"), drawn])
