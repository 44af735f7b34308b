"""The copies of a carrier's snapshots, and which of them other copies need. Pure."""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter

from three_backup.model.kept import Kept
from three_backup.model.snapshots import SnapshotId, Stored


class Place(StrEnum):
    LOCAL = "local"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored snapshot, and what retention needs to know of it."""

    stored: Stored
    wanted_in_s3: bool = True  # it is to be uploaded
    local_only: bool = False  # it has files that are never uploaded
    lost: bool = False  # these files are no longer on this host
    ahead: bool = False  # its time lies in the future
    held: str | None = None  # somebody holds it: until when and why, in words for a person


@dataclass(eq=False, slots=True)
class Copy:
    """One of the copies of a snapshot: it may have one on this host and one in S3.

    Known makes each once and compares it by identity: there may be half a million.
    """

    id: SnapshotId
    place: Place


_time = attrgetter("stored.id.time")


def missing_links(snapshots: Iterable[Stored], kept: Kept) -> dict[SnapshotId, datetime]:
    """Return the snapshots that cannot be restored, each with the time of the link that is gone.

    snapshots: all of a carrier, oldest first. A point in the source needs no other snapshot.
    """
    there: set[datetime] = set()
    gone: dict[datetime, datetime] = {}
    found: dict[SnapshotId, datetime] = {}
    for stored in snapshots:
        snapshot = stored.id
        there.add(snapshot.time)
        if snapshot.parent is None:
            continue
        if snapshot.parent in gone:
            gone[snapshot.time] = gone[snapshot.parent]
        elif snapshot.parent not in there:
            gone[snapshot.time] = snapshot.parent
        if snapshot.time in gone and not (kept is Kept.POINTS and stored.local):
            found[snapshot] = gone[snapshot.time]
    return found


class Known:
    """The snapshots of a carrier and how they depend on each other."""

    def __init__(self, candidates: Iterable[Candidate], kept: Kept) -> None:
        self.kept = kept
        self.points = kept is Kept.POINTS
        self.candidates = sorted(candidates, key=_time, reverse=True)
        self.newest_first = [candidate.stored for candidate in self.candidates]
        self._by_time = {_time(candidate): candidate for candidate in self.candidates}
        self.ahead = {_time(candidate) for candidate in self.candidates if candidate.ahead}
        self.here = {
            snapshot.id.time: Copy(snapshot.id, Place.LOCAL)
            for snapshot in self.newest_first
            if snapshot.local
        }
        self.in_s3 = {
            snapshot.id.time: Copy(snapshot.id, Place.S3)
            for snapshot in self.newest_first
            if snapshot.s3
        }
        self._complete: set[datetime] = set()
        self._complete_in_s3: set[datetime] = set()
        for snapshot in reversed(self.newest_first):
            if any(map(self.restorable, self.copies(snapshot))):
                self._complete.add(snapshot.id.time)
            if snapshot.s3 and (
                snapshot.id.parent is None or snapshot.id.parent in self._complete_in_s3
            ):
                self._complete_in_s3.add(snapshot.id.time)

    def copies(self, snapshot: Stored) -> Iterator[Copy]:
        if snapshot.local:
            yield self.here[snapshot.id.time]
        if snapshot.s3:
            yield self.in_s3[snapshot.id.time]

    def restorable(self, copy: Copy) -> bool:
        """Whether every link that the copy builds on lies somewhere."""
        if self.points and copy.place is Place.LOCAL:
            return True
        return copy.id.parent is None or copy.id.parent in self._complete

    def newest_complete(self) -> list[Stored]:
        """Return the newest snapshot that can be restored; if it is ahead, one before it as well.

        Oldest first.
        """
        return self._newest_of(self._complete)

    def newest_complete_in_s3(self) -> list[Stored]:
        return self._newest_of(self._complete_in_s3)

    def newest_with_local_files(self) -> Stored | None:
        """Return the newest local snapshot whose chain still has all files never uploaded.

        None if there is none, or if that chain holds no such files any more. Points have no files.
        """
        for candidate in () if self.points else self.candidates:
            snapshot = candidate.stored
            if snapshot.local and self.restorable(self.here[snapshot.id.time]):
                links = (candidate, *self._ancestors(snapshot.id))
                held = [link for link in links if link.local_only]
                if all(link.stored.local and not link.lost for link in held):
                    return snapshot if held else None
        return None

    def best_copy(self, snapshot: Stored) -> Copy:
        """Return the copy to keep if only one is kept."""
        in_s3 = self.in_s3.get(snapshot.id.time)
        if in_s3 is not None and (self.restorable(in_s3) or not snapshot.local):
            return in_s3
        return self.here[snapshot.id.time]

    def needs(self, copy: Copy, walked: set[tuple[datetime, bool]]) -> Iterator[Copy]:
        """Yield the copies of other snapshots without which this copy cannot be restored.

        walked: the steps of chains that were followed already: they are skipped, new ones added.
        """
        if self.points and copy.place is Place.LOCAL:
            return
        is_here = copy.place is Place.LOCAL
        for ancestor in self._ancestors(copy.id):
            step = ancestor.stored.id.time, is_here
            if step in walked:
                return
            walked.add(step)
            best = self.best_copy(ancestor.stored)
            yield best
            if is_here and ancestor.stored.local and ancestor.local_only:
                yield self.here[ancestor.stored.id.time]
            if self.points and best.place is Place.LOCAL:
                return

    def _ancestors(self, snapshot: SnapshotId) -> Iterator[Candidate]:
        while snapshot.parent is not None and snapshot.parent in self._by_time:
            ancestor = self._by_time[snapshot.parent]
            yield ancestor
            snapshot = ancestor.stored.id

    def _newest_of(self, times: Set[datetime]) -> list[Stored]:
        newest = (max(some, default=None) for some in (times - self.ahead, times & self.ahead))
        return [self._by_time[time].stored for time in newest if time is not None]
