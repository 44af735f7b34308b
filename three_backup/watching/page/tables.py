"""What a card unfolds: its snapshots and its largest objects, in tables."""

from collections.abc import Iterator, Sequence

from three_backup.deciding.due import Clock
from three_backup.model.snapshots import CarriedObject
from three_backup.screen import formats
from three_backup.watching.page.history import History, Point
from three_backup.watching.page.markup import Markup, element
from three_backup.watching.page.words import ago, at, places, remarks

_MOST_SNAPSHOTS, _MOST_OBJECTS = 60, 20


def snapshots(history: History, clock: Clock) -> Iterator[Markup]:
    """Yield the newest snapshots, folded up; nothing where there is none."""
    points = list(reversed(history.points))
    if not points:
        return
    rows = [_snapshot(point, history, clock) for point in points[:_MOST_SNAPSHOTS]]
    columns = ("Taken", "Kind", "Lies", "At the source", "Stored")
    count = len(points) + history.older
    yield _folded(formats.counted(count, "snapshot"), columns, rows, count, "older")


def objects(history: History, clock: Clock) -> Iterator[Markup]:
    """Yield the largest objects of a carrier that holds several, folded up."""
    every = history.watched.objects
    if history.carrier.is_object or not every:
        return
    largest = sorted(every, key=lambda carried: (-carried.size, str(carried.id)))
    rows = [_object(carried, history, clock) for carried in largest[:_MOST_OBJECTS]]
    title = formats.counted(len(every), "object")
    yield _folded(title, ("Object", "Size", "Proved"), rows, len(every), "smaller")


def _snapshot(point: Point, history: History, clock: Clock) -> Markup:
    sizes = point.sizes
    source, stored = (sizes.source, sizes.stored) if sizes else (None, None)
    return _row(
        at(point.time, clock),
        str(point.stored.id.kind),
        ", ".join((places(point, history.kept), *remarks(point, clock))),
        _size(source),
        _size(stored),
    )


def _object(carried: CarriedObject, history: History, clock: Clock) -> Markup:
    proved = history.watched.proved.get(str(carried.id))
    name = element("bdi", str(carried.id), class_="id")
    return _row(name, formats.size(carried.size), ago(proved, clock))


def _size(count: int | None) -> str:
    return "" if count is None else formats.size(count)


def _row(*cells: str) -> Markup:
    return element("tr", *(element("td", cell) for cell in cells))


def _folded(
    title: str, columns: Sequence[str], rows: Sequence[Markup], count: int, which: str
) -> Markup:
    """Return a table that is unfolded by a click. which: those that have no row."""
    heads = (element("th", column, scope="col") for column in columns)
    left = count - len(rows)
    return element(
        "details",
        element("summary", title),
        element("table", element("thead", element("tr", *heads)), element("tbody", *rows)),
        *([element("p", f"and {left} {which}")] if left else []),
    )
