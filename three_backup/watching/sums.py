"""What was taken, uploaded and removed, summed over carriers: records are added one by one."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from three_backup.model.records import Record, number
from three_backup.model.snapshots import Kind
from three_backup.screen.formats import counted, size

_PLACES = (("local", "local"), ("s3", "in S3"))


@dataclass(slots=True)
class Sums:
    """The sums over the carriers of records."""

    taken: Counter[str] = field(default_factory=Counter)
    uploaded: Counter[str] = field(default_factory=Counter)
    copied: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def add(self, record: Record) -> None:
        if snapshot := self._first(record, "snapshot"):
            sizes = {name: number(snapshot, name) for name in ("source_size", "stored_size")}
            self.taken.update({str(snapshot.get("kind")): 1, **sizes})
        if uploaded := self._first(record, "uploaded"):
            sizes = {name: number(uploaded, name) for name in ("bytes", "resumed")}
            self.uploaded.update({"snapshots": how_many(uploaded, "snapshots"), **sizes})
        if copied := self._first(record, "copied"):
            sizes = {name: number(copied, name) for name in ("bytes", "resumed")}
            self.copied.update({"snapshots": how_many(copied, "snapshots"), **sizes})
        if removed := self._first(record, "removed"):
            self.removed.update({place: how_many(removed, place) for place, _ in _PLACES})

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what was done and how much of it, without what was not done."""
        taken, uploaded, removed = self.taken, self.uploaded, self.removed
        if kinds := [f"{taken[kind]} {kind}" for kind in Kind if taken[kind]]:
            source, stored = size(taken["source_size"]), size(taken["stored_size"])
            yield "snapshots", f"{', '.join(kinds)}: {source} at the source, {stored} stored"
        if uploaded["snapshots"]:
            there = f", {size(uploaded['resumed'])} of it earlier" if uploaded["resumed"] else ""
            count = counted(uploaded["snapshots"], "snapshot")
            yield "uploaded", f"{count}: {size(uploaded['bytes'])}{there}"
        if copied := self.copied["snapshots"]:
            yield "copied", f"{counted(copied, 'snapshot')}: {size(self.copied['bytes'])}"
        if places := [f"{removed[place]} {where}" for place, where in _PLACES if removed[place]]:
            yield "removed", ", ".join(places)

    def _first(self, record: Record, name: str) -> Mapping[str, Any]:
        """Return a field that the records of a carrier share, for the first of them only."""
        fields = record.part(name)
        if fields and record.carrier != record.id:  # else no other record has the carrier
            if (name, record.carrier) in self._seen:
                return {}
            self._seen.add((name, record.carrier))
        return fields


def how_many(fields: Mapping[str, Any], name: str) -> int:
    """Return how many values a field lists; 0 where it is no list."""
    listed = fields.get(name)
    return len(listed) if isinstance(listed, list) else 0
