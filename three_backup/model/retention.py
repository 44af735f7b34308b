"""Retention: decides which snapshots of a carrier stay and which may go; it removes none.

A snapshot may lie on this host, in S3 or both; each copy gets its own verdict. Restore takes every
link of a chain from wherever it lies, so a copy of a parent stays only if another copy needs it.
Snapshots from the future (a clock that was wrong, a forged manifest) are counted by themselves:
they take no place of others.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice

from three_backup.model.dependencies import Candidate, Copy, Known, Place
from three_backup.model.kept import Kept
from three_backup.model.snapshots import Kind, SnapshotId, Stored
from three_backup.model.uploading import unsent

__all__ = [
    "Candidate",
    "Limits",
    "Place",
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one copy of a snapshot stays, and why."""

    snapshot: SnapshotId
    place: Place
    keep: bool
    reason: str  # in words for a person
    surplus: bool = False  # not worth uploading: it would be removed from S3 again


def most_generous(limits: Iterable[Limits]) -> Limits:
    """Return the highest of each limit. limits: at least one."""
    every = tuple(limits)
    return Limits(
        max(each.bases_local for each in every),
        max(each.incrementals_local for each in every),
        max(each.bases_s3 for each in every),
        max(each.incrementals_s3 for each in every),
    )


def decide(candidates: Iterable[Candidate], limits: Limits, kept: Kept) -> list[Verdict]:
    """Return the verdicts on all copies of one carrier's snapshots, children before parents."""
    known = Known(candidates, kept)
    surplus = _surplus(known, limits)
    staying = _kept(known, limits, surplus)
    return [
        Verdict(
            copy.id,
            copy.place,
            copy in staying,
            staying.get(copy) or _expendable(known, copy, limits),
            copy.id in surplus,
        )
        for snapshot in known.newest_first
        for copy in known.copies(snapshot)
    ]


def keeps_everything(snapshots: Collection[Stored], limits: Limits) -> bool:
    """Whether decide is sure to keep every copy; this takes less time than decide.

    True if no limit is exceeded and every parent lies somewhere. If False, ask decide.
    """
    there: dict[Place, list[datetime | None]] = {
        Place.LOCAL: [snapshot.id.parent for snapshot in snapshots if snapshot.local],
        Place.S3: [snapshot.id.parent for snapshot in snapshots if snapshot.s3],
    }
    for place, parents in there.items():
        bases = parents.count(None)
        if bases > _limit(limits, place, Kind.BASE):
            return False
        if len(parents) - bases > _limit(limits, place, Kind.INCREMENTAL):
            return False
    times = {snapshot.id.time for snapshot in snapshots}
    return times.issuperset(filter(None, chain(*there.values())))


_WHERE = {Place.LOCAL: "on this host", Place.S3: "in S3"}


def _surplus(known: Known, limits: Limits) -> set[SnapshotId]:
    """Return the snapshots that would be removed from S3 again if all were uploaded."""
    uploaded = set(_uploadable(known))
    if not uploaded:
        return set()
    then = Known(
        (
            replace(candidate, stored=candidate.stored._replace(s3=True))
            if candidate.stored.id in uploaded
            else candidate
            for candidate in known.candidates
        ),
        known.kept,
    )
    kept = _kept(then, limits, surplus=())
    return {snapshot_id for snapshot_id in uploaded if then.in_s3[snapshot_id.time] not in kept}


def _uploadable(known: Known) -> list[SnapshotId]:
    """Return the snapshots that can still be uploaded and are to be, oldest first."""
    unwanted = {
        candidate.stored.id for candidate in known.candidates if not candidate.wanted_in_s3
    }
    found = unsent(known.newest_first, known.kept, surplus=unwanted)
    return [snapshot_id for snapshot_id, obstacle in found.items() if obstacle is None]


def _kept(known: Known, limits: Limits, surplus: Collection[SnapshotId]) -> dict[Copy, str]:
    """Return the copies that stay, each with the reason."""
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
    """Yield the copies that are kept for their own sake, each with the reason."""
    for place, copies in ((Place.LOCAL, known.here), (Place.S3, known.in_s3)):
        for kind in Kind:
            limit = _limit(limits, place, kind)
            meant = [possible for possible in copies.values() if possible.id.kind is kind]
            by_now = (copy for copy in meant if copy.id.time not in known.ahead)
            ahead = (copy for copy in meant if copy.id.time in known.ahead)
            for copy in islice(filter(known.restorable, by_now), limit):
                yield copy, _rank(limit, kind, place)
            for copy in islice(filter(known.restorable, ahead), limit):
                yield copy, f"{_rank(limit, kind, place)} of those from the future"
    yield from _unsent(known, surplus)
    yield from _last_resorts(known)


def _unsent(known: Known, surplus: Collection[SnapshotId]) -> Iterator[tuple[Copy, str]]:
    """Yield the local copies that wait for their upload, and what it needs of their parents.

    A snapshot that can never be uploaded, because its parent is gone, does not wait.
    """
    for snapshot in reversed(_uploadable(known)):
        if snapshot in surplus:
            continue
        yield known.here[snapshot.time], "not yet in S3"
        if snapshot.parent is None:
            continue
        if known.points:
            yield known.here[snapshot.parent], f"{snapshot} is not yet in S3 and is made from it"
        if snapshot.parent in known.in_s3:
            yield known.in_s3[snapshot.parent], f"{snapshot} is not yet in S3 and builds on it"


def _last_resorts(known: Known) -> Iterator[tuple[Copy, str]]:
    """Yield the copies that are kept whatever the limits say, each with the reason."""
    complete = known.newest_complete()
    for newest in complete:
        yield known.best_copy(newest), "the newest that can be restored"
    for in_s3 in known.newest_complete_in_s3():
        yield known.in_s3[in_s3.id.time], "the newest that can be restored from S3 alone"
    with_local_files = known.newest_with_local_files()
    if with_local_files is not None:
        yield known.here[with_local_files.id.time], "the newest of what is never uploaded"
    points = (
        [snapshot for snapshot in known.newest_first if snapshot.local] if known.points else []
    )
    for point in points[:1]:
        yield known.here[point.id.time], "the next increment is made from it"
    than = f"nothing newer than {complete[0].id}" if complete else "nothing"
    for copy in _broken_but_newest(known, complete[:1]):
        yield copy, f"a snapshot that it builds on is gone, yet {than} can be restored"


def _broken_but_newest(known: Known, newest: Sequence[Stored]) -> Iterator[Copy]:
    for snapshot in known.newest_first:
        if all(snapshot.id.time >= whole.id.time for whole in newest):
            yield from (copy for copy in known.copies(snapshot) if not known.restorable(copy))


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
