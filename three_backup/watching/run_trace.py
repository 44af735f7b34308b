"""Traces a run: how it began and ended, and by its records what it did to each carrier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from three_backup.errors import Exit
from three_backup.host.trace import Priority, Trace
from three_backup.model.records import Record, number
from three_backup.screen.formats import counted, duration, size
from three_backup.watching.sums import how_many

_PLACES = (("local", "on this host"), ("s3", "in S3"))


@dataclass(slots=True)
class RunTrace:
    """Takes records one by one; what the records of a carrier share is traced once."""

    trace: Trace
    _seen: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def begun(cls, trace: Trace, patterns: Sequence[str]) -> Self:
        """Trace that a run of these patterns begins."""
        trace.write("the run begins" + "".join(f" -s {pattern}" for pattern in patterns))
        return cls(trace)

    def ended(self, headline: str, status: Exit, seconds: float) -> None:
        self.trace.write(
            f"{headline}; status {int(status)} after {duration(seconds)}",
            Priority.INFO if status is Exit.OK else Priority.ERROR,
        )

    def add(self, record: Record) -> None:
        for name, stage, words in (
            ("snapshot", "tb-snapshot", _taken),
            ("uploaded", "tb-upload", _uploaded),
            ("removed", "tb-rotate", _removed),
        ):
            fields = record.part(name)
            told = words(fields) if fields and (name, record.carrier) not in self._seen else ""
            if told:
                self._seen.add((name, record.carrier))
                message = f"{record.carrier}: {told}"
                self.trace.write(message, about=record.carrier, stage=stage)


def _taken(snapshot: Mapping[str, Any]) -> str:
    source, stored = number(snapshot, "source_size"), number(snapshot, "stored_size")
    return f"took {snapshot.get('id')}, {size(source)} at the source, {size(stored)} stored"


def _uploaded(uploaded: Mapping[str, Any]) -> str:
    if not how_many(uploaded, "snapshots"):
        return ""
    snapshots = ", ".join(map(str, uploaded["snapshots"]))
    return f"uploaded {snapshots}, {size(number(uploaded, 'bytes'))}"


def _removed(removed: Mapping[str, Any]) -> str:
    counts = ((how_many(removed, place), where) for place, where in _PLACES)
    told = ", ".join(f"{counted(count, 'snapshot')} {where}" for count, where in counts if count)
    return f"removed {told}" if told else ""
