"""The lanes of a time line: drawings in SVG as wide as there is room, without any script.

Only what is horizontal is in percent of the width, so that marks keep their shape on each screen.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from three_backup.deciding.due import Clock
from three_backup.model.kept import Kept
from three_backup.model.snapshots import Kind
from three_backup.screen import formats
from three_backup.sources.logged import Log
from three_backup.watching.page.history import History, Point
from three_backup.watching.page.markup import Markup, element
from three_backup.watching.page.scale import Scale, percent
from three_backup.watching.page.words import described, moment

_MARKS = 24
"""Pixels: how high a lane of snapshots is."""

_BAND, _CURVE, _BARS = 12, 34, 34
_BASE_WIDTH, _BASE_HEIGHT = 6, 16
_INCREMENT_WIDTH, _INCREMENT_HEIGHT = 4, 10
_THINNEST = 0.35
"""Percent: a stretch of WAL is at least this wide, or nobody would see it."""


def marks(
    history: History,
    scale: Scale,
    clock: Clock,
    lies: Callable[[Point], bool],
    missed: Sequence[datetime],
    title: str,
) -> Markup:
    """Draw the snapshots that lie somewhere, their chains, and those that were missed."""
    there = [point for point in history.points if lies(point)]
    drawn = (
        *_lines(scale, clock, _MARKS),
        *_chains(history, scale, lies),
        *(_mark(point, history.kept, scale, clock) for point in there if scale.shows(point.time)),
        *(_held(point, scale) for point in there if point.hold and scale.shows(point.time)),
        *(_missed(time, scale, clock) for time in missed),
    )
    older = sum(not scale.shows(point.time) for point in there)
    more = f", {older} of them older than what is shown" if older else ""
    return _drawing(f"{title}: {formats.counted(len(there), 'snapshot')}{more}", _MARKS, drawn)


def band(log: Log, scale: Scale, clock: Clock) -> Markup:
    """Draw the times of which every second can be restored, and the gaps between."""
    windows = ((window.since, window.until, "w") for window in log.windows)
    gaps = ((gap.since, gap.until, "gap") for gap in log.gaps)
    drawn = [
        _stretch(since, until, kind, scale, clock)
        for since, until, kind in (*windows, *gaps)
        if scale.shows(until)
    ]
    title = f"any second: {formats.counted(len(log.windows), 'stretch').replace('hs', 'hes')}"
    return _drawing(title, _BAND, (*_lines(scale, clock, _BAND), *drawn))


def curve(points: Sequence[Point], scale: Scale, clock: Clock) -> Markup:
    """Draw how large the source was, from zero on; stretched to the width, but not its line."""
    sizes = [
        (scale.share(point.time), point.sizes.source)
        for point in points
        if point.sizes and scale.shows(point.time)
    ]
    largest = max((size for _, size in sizes), default=0) or 1
    heights = [(at, _CURVE - size / largest * (_CURVE - 4)) for at, size in sizes]
    line = "L".join(f"{at:.2f} {height:.1f}" for at, height in heights)
    first, last = sizes[0][0], sizes[-1][0]
    area = f"M{first:.2f} {_CURVE}L{line}L{last:.2f} {_CURVE}Z"
    stretched = element(
        "svg",
        element("path", class_="a", d=area),
        element("path", class_="l", d=f"M{line}"),
        viewBox=f"0 0 100 {_CURVE}",
        preserveAspectRatio="none",
        height=_CURVE,
    )
    drawn = (*_lines(scale, clock, _CURVE), stretched)
    return _drawing("the size at the source", _CURVE, drawn)


def bars(points: Sequence[Point], scale: Scale, clock: Clock) -> Markup:
    """Draw how much was stored of each incremental snapshot."""
    sizes = [
        (point, point.sizes.stored)
        for point in points
        if point.sizes and not point.is_base and scale.shows(point.time)
    ]
    largest = max((size for _, size in sizes), default=0) or 1
    drawn = (
        _bar(scale.at(point.time), size / largest, f"{formats.size(size)}, {_day(point, clock)}")
        for point, size in sizes
    )
    title = f"what was stored of each {Kind.INCREMENTAL}"
    return _drawing(title, _BARS, (*_lines(scale, clock, _BARS), *drawn))


def axis(scale: Scale, clock: Clock) -> Markup:
    """Draw the dates below the lanes."""
    labels = (
        element("text", tick.label, x=tick.at, y=11, text_anchor="middle")
        for tick in scale.ticks(clock.zone)
        if _is_inside(tick.at)
    )
    return element("svg", *labels, class_="axis", height=14, aria_hidden="true")


def _drawing(title: str, height: int, drawn: Iterable[Markup]) -> Markup:
    return element(
        "svg",
        element("title", title),
        *drawn,
        role="img",
        aria_label=title,
        height=height,
    )


def _lines(scale: Scale, clock: Clock, height: int) -> Iterator[Markup]:
    for tick in scale.ticks(clock.zone):
        yield element("line", class_="g", x1=tick.at, x2=tick.at, y1=0, y2=height)


def _chains(history: History, scale: Scale, lies: Callable[[Point], bool]) -> Iterator[Markup]:
    """Yield a line below each chain, from its base to its end."""
    middle = _MARKS / 2
    for first, last in history.chains:
        if lies(last) and scale.shows(last.time) and first is not last:
            yield element(
                "line",
                class_="c",
                x1=scale.at(first.time),
                x2=scale.at(last.time),
                y1=middle,
                y2=middle,
            )


def _mark(point: Point, kept: Kept, scale: Scale, clock: Clock) -> Markup:
    kind = "b" if point.is_base else "i"
    return _box(
        scale.at(point.time),
        (_BASE_WIDTH, _BASE_HEIGHT) if point.is_base else (_INCREMENT_WIDTH, _INCREMENT_HEIGHT),
        kind if point.is_whole else f"{kind} x",
        described(point, kept, clock),
    )


def _held(point: Point, scale: Scale) -> Markup:
    """Draw a dot above a snapshot."""
    return element("circle", class_="h", cx=scale.at(point.time), cy=2, r=2)


def _missed(time: datetime, scale: Scale, clock: Clock) -> Markup:
    title = f"missed: {moment(time, clock.zone, clock.now)}"
    return _box(scale.at(time), (_INCREMENT_WIDTH, _INCREMENT_HEIGHT), "m", title)


def _box(at: str, size: tuple[int, int], kind: str, title: str) -> Markup:
    width, height = size
    return element(
        "rect",
        element("title", title),
        class_=kind,
        x=at,
        y=(_MARKS - height) / 2,
        width=width,
        height=height,
        rx=2,
        transform=f"translate({-width / 2:g})",
    )


def _bar(at: str, share: float, title: str) -> Markup:
    height = max(1.0, share * (_BARS - 4))
    return element(
        "rect",
        element("title", title),
        class_="i",
        x=at,
        y=f"{_BARS - height:.1f}",
        width=_INCREMENT_WIDTH,
        height=f"{height:.1f}",
        transform=f"translate({-_INCREMENT_WIDTH / 2:g})",
    )


def _stretch(since: datetime, until: datetime, kind: str, scale: Scale, clock: Clock) -> Markup:
    words = "any second" if kind == "w" else "nothing can be restored"
    times = " to ".join(moment(time, clock.zone, clock.now) for time in (since, until))
    begin, end = scale.share(since), scale.share(until)
    return element(
        "rect",
        element("title", f"{words}: {times}"),
        class_=kind,
        x=percent(begin),
        y=2,
        width=percent(max(end - begin, _THINNEST)),
        height=_BAND - 4,
        rx=2,
    )


def _day(point: Point, clock: Clock) -> str:
    return moment(point.time, clock.zone, clock.now)


def _is_inside(at: str) -> bool:
    """Return whether a date fits below the point without being cut off."""
    return 5 < float(at.removesuffix("%")) < 95
