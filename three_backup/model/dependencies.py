"""The copies of a carrier's snapshots, and which of them others need. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from three_backup.model.snapshots import SnapshotId


class Place(StrEnum):
    LOCAL = "local"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A complete snapshot. local, s3: where it lies; wanted_in_s3: it should come to lie there;
    local_only: it has files that are never uploaded; lost: these are not here any more."""

    id: SnapshotId
    local: bool
    s3: bool
    wanted_in_s3: bool = True
    local_only: bool = False
    lost: bool = False


@dataclass(eq=False, slots=True)
class Copy:
    """Made once for each and compared by identity: half a million may have to be looked at."""

    id: SnapshotId
    place: Place


class Known:
    """The snapshots that there are and how they hang together."""

    def __init__(self, snapshots: Iterable[Candidate], points: bool) -> None:
        self.points = points
        self.newest_first = sorted(snapshots, key=lambda one: one.id.time, reverse=True)
        self._by_time = {one.id.time: one for one in self.newest_first}
        self.here = {
            one.id.time: Copy(one.id, Place.LOCAL) for one in self.newest_first if one.local
        }
        self.in_s3 = {one.id.time: Copy(one.id, Place.S3) for one in self.newest_first if one.s3}
        self._complete: set[datetime] = set()
        self._complete_in_s3: set[datetime] = set()
        for one in reversed(self.newest_first):
            if any(map(self.restorable, self.copies(one))):
                self._complete.add(one.id.time)
            if one.s3 and (one.id.parent is None or one.id.parent in self._complete_in_s3):
                self._complete_in_s3.add(one.id.time)

    def copies(self, one: Candidate) -> Iterator[Copy]:
        if one.local:
            yield self.here[one.id.time]
        if one.s3:
            yield self.in_s3[one.id.time]

    def restorable(self, copy: Copy) -> bool:
        """Whether every link that the copy builds on lies somewhere."""
        if self.points and copy.place is Place.LOCAL:
            return True
        return copy.id.parent is None or copy.id.parent in self._complete

    def parent(self, snapshot: SnapshotId) -> Candidate | None:
        return None if snapshot.parent is None else self._by_time.get(snapshot.parent)

    def newest_complete(self) -> Candidate | None:
        return next((one for one in self.newest_first if one.id.time in self._complete), None)

    def newest_complete_in_s3(self) -> Candidate | None:
        complete = self._complete_in_s3
        return next((one for one in self.newest_first if one.id.time in complete), None)

    def newest_with_local_files(self) -> Candidate | None:
        """The newest through which all that is never uploaded can be restored; None where the
        newest one here holds nothing of the kind any more. Points have no files."""
        for one in () if self.points else self.newest_first:
            if one.local and self.restorable(self.here[one.id.time]):
                held = [link for link in (one, *self._ancestors(one.id)) if link.local_only]
                if all(link.local and not link.lost for link in held):
                    return one if held else None
        return None

    def best_copy(self, one: Candidate) -> Copy:
        """The copy that is kept if one must be."""
        in_s3 = self.in_s3.get(one.id.time)
        if in_s3 is not None and (self.restorable(in_s3) or not one.local):
            return in_s3
        return self.here[one.id.time]

    def needs(self, copy: Copy, walked: set[tuple[datetime, bool]]) -> Iterator[Copy]:
        """The copies of other snapshots without whose bytes this one is worth nothing.

        walked: how far chains were followed already; these parts are left out and added to.
        """
        if self.points and copy.place is Place.LOCAL:
            return
        is_here = copy.place is Place.LOCAL
        for ancestor in self._ancestors(copy.id):
            step = ancestor.id.time, is_here
            if step in walked:
                return
            walked.add(step)
            best = self.best_copy(ancestor)
            yield best
            if is_here and ancestor.local and ancestor.local_only:
                yield self.here[ancestor.id.time]
            if self.points and best.place is Place.LOCAL:
                return

    def _ancestors(self, snapshot: SnapshotId) -> Iterator[Candidate]:
        ancestor = self.parent(snapshot)
        while ancestor is not None:
            yield ancestor
            ancestor = self.parent(ancestor.id)
