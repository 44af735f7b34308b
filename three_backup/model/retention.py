"""Which snapshots of a carrier stay, and which may go: decided here, carried out elsewhere.

A snapshot may lie on this host, in S3 or both; each copy gets a verdict of its own. Restore takes
every link of a chain from wherever it lies, so a parent stays only where somebody needs its bytes.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from typing import Protocol

from three_backup.model.dependencies import Candidate, Copy, Known, Place
from three_backup.model.snapshots import Kind, SnapshotId

__all__ = [
    "Candidate",
    "Limits",
    "Place",
    "Placed",
    "Verdict",
    "decide",
    "keeps_everything",
    "most_generous",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many of the newest snapshots are kept, beside all that they need."""

    bases_local: int
    incrementals_local: int
    bases_s3: int
    incrementals_s3: int


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
    """What becomes of one copy of a snapshot, and why, in words for a person. surplus: it could
    be uploaded, but would be removed from S3 again, so that nobody uploads it."""

    snapshot: SnapshotId
    place: Place
    keep: bool
    reason: str
    surplus: bool = False


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
    known = Known(snapshots, points)
    surplus = _surplus(known, limits)
    kept = _kept(known, limits, surplus)
    return [
        Verdict(
            copy.id,
            copy.place,
            copy in kept,
            kept.get(copy) or _expendable(known, copy, limits),
            copy.id in surplus,
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


def _surplus(known: Known, limits: Limits) -> set[SnapshotId]:
    """What would be removed from S3 if all lay there that can still be uploaded."""
    uploaded = {one.id: one for one in _uploaded(known)}
    if not uploaded:
        return set()
    then = Known((uploaded.get(one.id, one) for one in known.newest_first), known.points)
    kept = _kept(then, limits, surplus=())
    return {one.id for one in uploaded.values() if then.in_s3[one.id.time] not in kept}


def _uploaded(known: Known) -> Iterator[Candidate]:
    """What S3 lacks and can get, as it lies then."""
    there = {one.id.time for one in known.newest_first if one.s3}
    for one in reversed(known.newest_first):
        if one.s3 or not one.local or not one.wanted_in_s3:
            continue
        parent = one.id.parent
        if parent is None or (parent in there and (parent in known.here or not known.points)):
            there.add(one.id.time)
            yield replace(one, s3=True)


def _kept(known: Known, limits: Limits, surplus: Collection[SnapshotId]) -> dict[Copy, str]:
    """The copies that stay, and why."""
    kept: dict[Copy, str] = {}
    for copy, reason in _wanted(known, limits, surplus):
        kept.setdefault(copy, reason)
    walked: set[tuple[datetime, bool]] = set()
    waiting = list(kept)
    for copy in waiting:
        for needed in known.needs(copy, walked):
            if needed not in kept:
                kept[needed] = f"{copy.id} needs it"
                waiting.append(needed)
    return kept


def _wanted(
    known: Known, limits: Limits, surplus: Collection[SnapshotId]
) -> Iterator[tuple[Copy, str]]:
    """The copies that are kept for their own sake."""
    for place, copies in ((Place.LOCAL, known.here), (Place.S3, known.in_s3)):
        for kind in Kind:
            limit = _limit(limits, place, kind)
            meant = (one for one in copies.values() if one.id.kind is kind)
            for copy in islice(filter(known.restorable, meant), limit):
                yield copy, _rank(limit, kind, place)
    yield from _unsent(known, surplus)
    yield from _last_resorts(known)


def _unsent(known: Known, surplus: Collection[SnapshotId]) -> Iterator[tuple[Copy, str]]:
    """What will never come to S3, since its parent is gone there or here, is not waited for."""
    for one in reversed(list(_uploaded(known))):
        if one.id in surplus:
            continue
        yield known.here[one.id.time], "not yet in S3"
        if known.points and one.id.parent is not None:
            yield known.here[one.id.parent], f"{one.id} is not yet in S3 and is made from it"


def _last_resorts(known: Known) -> Iterator[tuple[Copy, str]]:
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


def _broken_but_newest(known: Known, newest: Candidate | None) -> Iterator[Copy]:
    for one in known.newest_first:
        if newest is None or one.id.time >= newest.id.time:
            yield from (copy for copy in known.copies(one) if not known.restorable(copy))


def _expendable(known: Known, copy: Copy, limits: Limits) -> str:
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
