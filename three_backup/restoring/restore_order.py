"""What is to be restored, and in which order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.model.snapshots import SnapshotId
from three_backup.restoring.snapshot_finder import Held
from three_backup.sources import source_of
from three_backup.sources.jobs import Wanted


@dataclass(frozen=True, slots=True)
class Request:
    """A record, the snapshot that its object is restored out of, and the id it shall have."""

    record: Record
    held: Held
    target: ObjectId

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.held.object.id, self.target)


Party = Sequence[Request]
"""The requests that one snapshot answers."""


def parties(requests: Iterable[Request]) -> list[Party]:
    """Those first to which others may refer: by the source's order, and, since what exists longer
    is not there for the sake of what is gone, the newer snapshot before the older."""
    found: dict[tuple[str, SnapshotId], list[Request]] = {}
    for request in requests:
        found.setdefault(request.held.place, []).append(request)
    newest_first = sorted(found.values(), key=lambda party: party[0].held.place[1].time)[::-1]
    return sorted(newest_first, key=_rank)


def _rank(party: Party) -> int:
    objects = [request.held.object.id for request in party]
    return min(source_of(one.type).subtypes.index(one.subtype) for one in objects)
