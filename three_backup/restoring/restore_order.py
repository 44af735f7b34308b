"""Requests for a restore, and the order in which they are met."""

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
    """A record, the snapshot to restore its object from, and the id that it shall have."""

    record: Record
    held: Held
    target: ObjectId

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.held.object.id, self.target)


Party = Sequence[Request]
"""The requests that one moment answers."""


def parties(requests: Iterable[Request]) -> list[Party]:
    """Group the requests by moment, those first to which others may refer.

    The source's order of subtypes comes first. Then newer snapshots go before older ones, as an
    object that still existed in the newer one does not depend on an object that was gone by then.
    Among equals the order of the requests is kept.
    """
    found: dict[tuple[str, SnapshotId, str], list[Request]] = {}
    for request in requests:
        found.setdefault(request.held.moment, []).append(request)
    newest_first = sorted(
        found.values(), key=lambda party: party[0].held.snapshot.id.time, reverse=True
    )
    return sorted(newest_first, key=subtype_rank)


def subtype_rank(party: Party) -> int:
    """Return the place of a party's subtypes in the order of a restore."""
    objects = [request.held.object.id for request in party]
    return min(
        source_of(object_id.type).subtypes.index(object_id.subtype) for object_id in objects
    )
