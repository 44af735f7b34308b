"""Which snapshots of a carrier stay, and which may go: decided here, carried out elsewhere.

A snapshot may lie on this host, in S3 or both; each copy gets a verdict of its own. Restore takes
every link of a chain from wherever it lies, so a parent stays only where somebody needs its bytes.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain, islice
from typing import Protocol

from three_backup.snapshots import Kind, SnapshotId


class Place(StrEnum):
    LOCAL = "local"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many of the newest snapshots are kept, beside all that they need."""

    bases_local: int
    incrementals_local: int
    bases_s3: int
    incrementals_s3: int


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


class Placed(Protocol):
    """A complete snapshot and where it lies: a Candidate, say."""

    @property
    def id(self) -> SnapshotId: ...
    @property
    def local(self) -> bool: ...
    @property
    def s3(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one copy of a snapshot, and why, in words for a person."""

    snapshot: SnapshotId
    place: Place
    keep: bool
    reason: str


def most_generous(limits: Iterable[Limits]) -> Limits:
    """The highest of each; limits: at least one."""
    every = tuple(limits)
    return Limits(
        max(one.bases_local for one in every),
        max(one.incrementals_local for one in every),
        max(one.bases_s3 for one in every),
        max(one.incrementals_s3 for one in every),
    )


def decide(
    snapshots: Iterable[Candidate], limits: Limits, *, points: bool = False
) -> list[Verdict]:
    """The verdicts on all copies of one carrier's snapshots, children before their parents.

    points: a local copy is a state of the source itself, as in ZFS: it restores without its
    parents, and increments, the next one and those not yet uploaded, are made from it.
    """
    known = _Known(snapshots, points)
    kept: dict[_Copy, str] = {}
    for copy, reason in _wanted(known, limits):
        kept.setdefault(copy, reason)
    walked: set[tuple[datetime, bool]] = set()
    waiting = list(kept)
    for copy in waiting:
        for needed in known.needs(copy, walked):
            if needed not in kept:
                kept[needed] = f"{copy.id} needs it"
                waiting.append(needed)
    return [
        Verdict(
            copy.id, copy.place, copy in kept, kept.get(copy) or _expendable(known, copy, limits)
        )
        for snapshot in known.newest_first
        for copy in known.copies(snapshot)
    ]


def keeps_everything(snapshots: Collection[Placed], limits: Limits) -> bool:
    """Whether decide would plainly keep every copy, found in less time: no limit is
    passed, and every parent lies somewhere. Where it is not plain, decide has to be asked."""
    there: dict[Place, list[datetime | None]] = {
        Place.LOCAL: [one.id.parent for one in snapshots if one.local],
        Place.S3: [one.id.parent for one in snapshots if one.s3],
    }
    for place, parents in there.items():
        bases = parents.count(None)
        if bases > _limit(limits, place, Kind.BASE):
            return False
        if len(parents) - bases > _limit(limits, place, Kind.INCREMENTAL):
            return False
    times = {one.id.time for one in snapshots}
    return times.issuperset(filter(None, chain(*there.values())))


_WHERE = {Place.LOCAL: "on this host", Place.S3: "in S3"}


@dataclass(eq=False, slots=True)
class _Copy:
    """Made once for each and compared by identity: half a million may have to be looked at."""

    id: SnapshotId
    place: Place


class _Known:
    """The snapshots that there are and how they hang together."""

    def __init__(self, snapshots: Iterable[Candidate], points: bool) -> None:
        self.points = points
        self.newest_first = sorted(snapshots, key=lambda one: one.id.time, reverse=True)
        self._by_time = {one.id.time: one for one in self.newest_first}
        self.here = {
            one.id.time: _Copy(one.id, Place.LOCAL) for one in self.newest_first if one.local
        }
        self.in_s3 = {one.id.time: _Copy(one.id, Place.S3) for one in self.newest_first if one.s3}
        self._complete: set[datetime] = set()
        self._complete_in_s3: set[datetime] = set()
        for one in reversed(self.newest_first):
            if any(map(self.restorable, self.copies(one))):
                self._complete.add(one.id.time)
            if one.s3 and (one.id.parent is None or one.id.parent in self._complete_in_s3):
                self._complete_in_s3.add(one.id.time)

    def copies(self, one: Candidate) -> Iterator[_Copy]:
        if one.local:
            yield self.here[one.id.time]
        if one.s3:
            yield self.in_s3[one.id.time]

    def restorable(self, copy: _Copy) -> bool:
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

    def best_copy(self, one: Candidate) -> _Copy:
        """The copy that is kept if one must be."""
        in_s3 = self.in_s3.get(one.id.time)
        if in_s3 is not None and (self.restorable(in_s3) or not one.local):
            return in_s3
        return self.here[one.id.time]

    def needs(self, copy: _Copy, walked: set[tuple[datetime, bool]]) -> Iterator[_Copy]:
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


def _wanted(known: _Known, limits: Limits) -> Iterator[tuple[_Copy, str]]:
    """The copies that are kept for their own sake."""
    for place, copies in ((Place.LOCAL, known.here), (Place.S3, known.in_s3)):
        for kind in Kind:
            limit = _limit(limits, place, kind)
            meant = (one for one in copies.values() if one.id.kind is kind)
            for copy in islice(filter(known.restorable, meant), limit):
                yield copy, _rank(limit, kind, place)
    yield from _unsent(known)
    yield from _last_resorts(known)


def _unsent(known: _Known) -> Iterator[tuple[_Copy, str]]:
    for one in known.newest_first:
        parent = known.parent(one.id)
        if not one.local or one.s3 or not one.wanted_in_s3 or not _can_be_sent(known, one):
            continue
        yield known.here[one.id.time], "not yet in S3"
        if known.points and parent is not None:
            yield known.here[parent.id.time], f"{one.id} is not yet in S3 and is made from it"


def _can_be_sent(known: _Known, one: Candidate) -> bool:
    """An increment whose parent is gone never comes to S3."""
    if known.points and one.id.parent is not None:
        parent = known.parent(one.id)
        return parent is not None and parent.local
    return known.restorable(known.here[one.id.time])


def _last_resorts(known: _Known) -> Iterator[tuple[_Copy, str]]:
    """What is kept whatever the limits say."""
    newest = known.newest_complete()
    if newest is not None:
        yield known.best_copy(newest), "the newest that can be restored"
    in_s3 = known.newest_complete_in_s3()
    if in_s3 is not None:
        yield known.in_s3[in_s3.id.time], "the newest that can be restored from S3 alone"
    with_local_files = known.newest_with_local_files()
    if with_local_files is not None:
        yield known.here[with_local_files.id.time], "the newest of what is never uploaded"
    points = [one for one in known.newest_first if one.local] if known.points else []
    for one in points[:1]:
        yield known.here[one.id.time], "the next increment is made from it"
    for copy in _broken_but_newest(known, newest):
        yield copy, "its parent is gone, yet nothing newer can be restored"


def _broken_but_newest(known: _Known, newest: Candidate | None) -> Iterator[_Copy]:
    for one in known.newest_first:
        if newest is None or one.id.time >= newest.id.time:
            yield from (copy for copy in known.copies(one) if not known.restorable(copy))


def _expendable(known: _Known, copy: _Copy, limits: Limits) -> str:
    if not known.restorable(copy):
        return "cannot be restored: a snapshot that it builds on is gone"
    kind, place = copy.id.kind, copy.place
    limit = _limit(limits, place, kind)
    if limit == 0:
        return f"no {kind}s are to be kept {_WHERE[place]}, and nobody needs it"
    return f"not {_rank(limit, kind, place)}, and nobody needs it"


def _rank(limit: int, kind: Kind, place: Place) -> str:
    if limit == 1:
        return f"the newest {kind} {_WHERE[place]}"
    return f"one of the newest {limit} {kind}s {_WHERE[place]}"


def _limit(limits: Limits, place: Place, kind: Kind) -> int:
    match place, kind:
        case Place.LOCAL, Kind.BASE:
            return limits.bases_local
        case Place.LOCAL, Kind.INCREMENTAL:
            return limits.incrementals_local
        case Place.S3, Kind.BASE:
            return limits.bases_s3
        case _:
            return limits.incrementals_s3
