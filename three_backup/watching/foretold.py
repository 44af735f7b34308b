"""Sums up what a dry run of tb-rotate would remove and why, over all carriers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from three_backup.model.dependencies import Place
from three_backup.model.retention import Verdict
from three_backup.model.snapshots import SnapshotId
from three_backup.screen.formats import counted, size

_WHERE = {Place.LOCAL: "on this host", Place.S3: "in S3"}


@dataclass(slots=True)
class _Going:
    """The copies in one place that would go for the same reason."""

    snapshots: int = 0
    carriers: int = 0
    size: int = 0  # bytes, as far as they are known
    times: list[datetime] = field(default_factory=list)  # of the oldest and of the newest


class Foretold:
    """The sums; memory is flat however many carriers come."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone  # of the days that people read
        self._going: dict[tuple[Place, str], _Going] = {}
        self._staying: Counter[Place] = Counter()
        self._held: Counter[str] = Counter()
        self._locked = 0
        self._unlocked = datetime.min.replace(tzinfo=UTC)  # when the last lock ends

    def add(
        self,
        verdicts: Sequence[Verdict],
        sizes: Mapping[SnapshotId, int],
        held: Mapping[SnapshotId, Any],
        locked: Mapping[SnapshotId, datetime],
    ) -> None:
        """Add a carrier.

        sizes: in bytes, of what would go. held: the holds in force. locked: what only its lock
        keeps, and until when.
        """
        self._locked += len(locked)
        self._unlocked = max((self._unlocked, *locked.values()))
        touched = set()
        for verdict in verdicts:
            if verdict.keep:
                self._staying[verdict.place] += 1
                continue
            going = self._going.setdefault((verdict.place, verdict.reason), _Going())
            going.snapshots += 1
            going.size += sizes.get(verdict.snapshot, 0)
            times = (*going.times, verdict.snapshot.time)
            going.times = [min(times), max(times)]
            touched.add((verdict.place, verdict.reason))
        for key in touched:
            self._going[key].carriers += 1
        kept = {verdict.snapshot for verdict in verdicts if verdict.keep}
        staying = (hold for snapshot, hold in held.items() if snapshot in kept)
        self._held.update(hold.told(self._zone) for hold in staying)

    def sentences(self) -> Iterator[str]:
        """Yield a sentence for each reason, and one on what would stay."""
        for (place, reason), going in sorted(self._going.items()):
            known = f" of {size(going.size)}" if going.size else ""
            yield (
                f"{counted(going.snapshots, 'snapshot')}{known} {_WHERE[place]} would go, "
                f"{self._when(going.times)}{_of_carriers(going)}: {reason}"
            )
        for how, count in self._held.items():
            yield f"{counted(count, 'snapshot')} would stay, {how}"
        if self._locked:
            day = f"{self._unlocked.astimezone(self._zone):%Y-%m-%d}"
            yield f"{counted(self._locked, 'snapshot')} in S3 would stay, locked until {day}"
        if self._going or self._staying:
            here = counted(self._staying[Place.LOCAL], "snapshot")
            others = "" if self._going else ", none would go"
            yield f"{here} on this host and {self._staying[Place.S3]} in S3 would stay{others}"

    def _when(self, times: Sequence[datetime]) -> str:
        first, last = (f"{time.astimezone(self._zone):%Y-%m-%d}" for time in times)
        return f"taken on {first}" if first == last else f"taken from {first} to {last}"


def _of_carriers(going: _Going) -> str:
    return f", of {going.carriers} carriers" if going.carriers > 1 else ""
