"""The copies of a carrier's snapshots, and which of them other copies need. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from three_backup.model.kept import Kept
from three_backup.model.snapshots import SnapshotId


class Place(StrEnum):
    LOCAL = "local"
    S3 = "s3"


class Placed(Protocol):
    """A complete snapshot and where it lies, such as a Candidate."""

    @property
    def id(self) -> SnapshotId: ...
    @property
    def local(self) -> bool: ...
    @property
    def s3(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A complete snapshot, as retention judges it."""

    id: SnapshotId
    local: bool  # it lies on this host
    s3: bool  # it lies in S3
    wanted_in_s3: bool = True  # it is to be uploaded
    local_only: bool = False  # it has files that are never uploaded
    lost: bool = False  # these files are no longer on this host


@dataclass(eq=False, slots=True)
class Copy:
    """One copy of a snapshot.

    Known makes each once and compares it by identity: there may be half a million.
    """

    id: SnapshotId
    place: Place


class Known:
    """The snapshots of a carrier and how they depend on each other."""

    def __init__(self, snapshots: Iterable[Candidate], kept: Kept) -> None:
        self.kept = kept
        self.points = kept is Kept.POINTS
        self.newest_first = sorted(snapshots, key=lambda snapshot: snapshot.id.time, reverse=True)
        self._by_time = {snapshot.id.time: snapshot for snapshot in self.newest_first}
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

    def copies(self, snapshot: Candidate) -> Iterator[Copy]:
        if snapshot.local:
            yield self.here[snapshot.id.time]
        if snapshot.s3:
            yield self.in_s3[snapshot.id.time]

    def restorable(self, copy: Copy) -> bool:
        """Whether every link that the copy builds on lies somewhere."""
        if self.points and copy.place is Place.LOCAL:
            return True
        return copy.id.parent is None or copy.id.parent in self._complete

    def parent(self, snapshot: SnapshotId) -> Candidate | None:
        return None if snapshot.parent is None else self._by_time.get(snapshot.parent)

    def newest_complete(self) -> Candidate | None:
        return next(
            (snapshot for snapshot in self.newest_first if snapshot.id.time in self._complete),
            None,
        )

    def newest_complete_in_s3(self) -> Candidate | None:
        complete = self._complete_in_s3
        return next(
            (snapshot for snapshot in self.newest_first if snapshot.id.time in complete), None
        )

    def newest_with_local_files(self) -> Candidate | None:
        """Return the newest local snapshot whose chain still has all files never uploaded.

        None if there is none, or if that chain holds no such files any more. Points have no files.
        """
        for snapshot in () if self.points else self.newest_first:
            if snapshot.local and self.restorable(self.here[snapshot.id.time]):
                held = [
                    link for link in (snapshot, *self._ancestors(snapshot.id)) if link.local_only
                ]
                if all(link.local and not link.lost for link in held):
                    return snapshot if held else None
        return None

    def best_copy(self, snapshot: Candidate) -> Copy:
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
