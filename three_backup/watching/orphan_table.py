"""Shows the keys in S3 that belong to no snapshot, as tb-rotate --orphans finds them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from three_backup.model.records import Record
from three_backup.screen import formats
from three_backup.screen.terminal import Screen

_HEADING = ("SNAPSHOT", "KEYS", "SIZE", "AGE", "")
_RIGHT = frozenset({1, 2, 3})
_REMOVED, _GOING, _STAYING = "removed", "going", "staying"
_SENTENCES = {
    _REMOVED: "{} removed that belonged to no snapshot",
    _GOING: "{} can be removed: tb-rotate --orphans --remove",
    _STAYING: "{} belong to no snapshot, and are left alone for now",
}


class OrphanTable:
    """A table of the orphans, for a terminal, and a sentence on all of them."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._rows: list[Sequence[str]] = []
        self._records = 0
        self._keys: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    def count(self, record: Record) -> None:
        """Count what the sentence sums up: once a record, whether a table is shown or not."""
        self._records += 1
        for orphan in record.fields.get("orphans", ()):
            fate = _STAYING if "stays" in orphan else _GOING
            fate = _REMOVED if orphan.get("removed") else fate
            self._keys[fate] += orphan["keys"]
            self._sizes[fate] += orphan["bytes"]

    @property
    def sentence(self) -> str:
        """What was removed, else what could be; empty if only failures were counted."""
        for fate, sentence in _SENTENCES.items():
            if self._keys[fate]:
                keys = formats.counted(self._keys[fate], "key")
                return sentence.format(f"{keys} of {formats.size(self._sizes[fate])}")
        return "" if self._records else "every key of data in S3 belongs to a snapshot"

    def add(self, record: Record) -> None:
        self._rows += _rows(record, self._now)

    def text(self, seconds: float, screen: Screen) -> str:
        if not self._rows:
            return ""
        return formats.table([_HEADING, *self._rows], _RIGHT, screen.width)


def _rows(record: Record, now: datetime) -> Iterator[Sequence[str]]:
    yield (record.carrier, "", "", "", "failed" if record.failed else "")
    for orphan in record.fields.get("orphans", ()):
        old = formats.age(datetime.fromisoformat(orphan["newest"]), now)
        keys, size = str(orphan["keys"]), formats.size(orphan["bytes"])
        fate = _REMOVED if orphan.get("removed") else orphan.get("stays", "")
        yield (f"  {orphan['snapshot']}", keys, size, old, fate)
