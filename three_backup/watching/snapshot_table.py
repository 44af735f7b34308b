"""The table of snapshots: what each is, when it was taken on the clocks of this host, where."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from three_backup.deciding.due import Clock
from three_backup.model.local_time import local_minute
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.screen import formats

_MARKS = {
    "hollow": "hollow",
    "missing": "broken",
    "held": "held",
    "foreign": "foreign",
    "plain": "plain",
}
_WIDE = 104
_HEADING = ("SNAPSHOT", "KIND", "SIZE", "AGE", "TAKEN", "PLACE")
_NARROW = (0, 4, 2, 5)
"""The columns for a narrow screen: the id tells year and kind, too, and must not be cut."""

Described = tuple[Carrier, Sequence[Mapping[str, Any]]]
"""A carrier, and its snapshots as records describe them."""


def snapshot_table(carriers: Iterable[Described], clock: Clock, width: int | None) -> str:
    """Format the table; empty where there is no snapshot. width: of the lines, None: no limit."""
    narrow = width is not None and width < _WIDE
    rows = [row for described in carriers for row in _rows(described, clock, narrow=narrow)]
    if not rows:
        return ""
    chosen = _NARROW if narrow else tuple(range(len(_HEADING)))
    shown = [[row[column] for column in chosen] for row in (_HEADING, *rows)]
    right = frozenset(place for place, column in enumerate(chosen) if column in (2, 3))
    return formats.table(shown, right, width)


def _rows(described: Described, clock: Clock, *, narrow: bool) -> Iterator[Sequence[str]]:
    carrier, snapshots = described
    if snapshots:
        yield (carrier, *("" for _ in _HEADING[1:]))
    for snapshot in snapshots:
        taken = SnapshotId.parse(snapshot["id"])
        time = taken.time if taken else None
        marks = [mark for field, mark in _MARKS.items() if field in snapshot]
        yield (
            f"  {snapshot['id']}",
            ", ".join((snapshot["kind"], *marks)),
            formats.size(snapshot["size"]),
            formats.age(time, clock.now),
            _when(time, clock, narrow=narrow),
            ", ".join((*snapshot["place"], *(marks if narrow else ()))),
        )


def _when(time: datetime | None, clock: Clock, *, narrow: bool) -> str:
    if time is None:
        return ""
    return local_minute(time, clock.zone) if narrow else clock.shown(time)
