"""How long the stages of a run worked, and what they wrote: records are added one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from three_backup.model.records import Record, number

_STAGES = {
    "snapshot": ("snapshot", "stored_size"),
    "uploaded": ("upload", "bytes"),
    "removed": ("rotate", None),
    "copied": ("copy", "bytes"),
    "wal": ("wal", "stored"),
}
"""By the field of a record: the stage that adds it, and which of its sizes it wrote."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage cost, all carriers together."""

    seconds: float = 0.0
    written: int | None = None  # bytes; None: it writes nothing


@dataclass(slots=True)
class StageCosts:
    """The sums over the carriers of a run, by stage; only stages that worked are in it."""

    costs: dict[str, Cost] = field(default_factory=dict)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def add(self, record: Record) -> None:
        for name, (stage, size) in _STAGES.items():
            fields = record.part(name)
            if fields and self._is_first(record, name):
                before = self.costs.get(stage, Cost())
                written = None if size is None else (before.written or 0) + number(fields, size)
                self.costs[stage] = Cost(before.seconds + _seconds(fields), written)

    def _is_first(self, record: Record, name: str) -> bool:
        """Whether no record of its carrier, all of which share the field, came before."""
        if record.carrier == record.id:  # else no other record has the carrier
            return True
        seen = (name, record.carrier) in self._seen
        self._seen.add((name, record.carrier))
        return not seen


def _seconds(fields: Mapping[str, Any]) -> float:
    seconds = fields.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else 0.0
