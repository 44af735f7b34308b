"""Retention: decides which snapshots of a carrier stay and which may go; it removes none.

A snapshot may lie on this host, in S3 or both; each copy gets its own verdict. Restore takes every
link of a chain from wherever it lies, so a copy of a parent stays only if another copy needs it.
Snapshots from the future (a clock that was wrong, a forged manifest) are counted by themselves:
they take no place of others.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from itertools import chain, islice

from three_backup.model.dependencies import Candidate, Copy, Known, Place
from three_backup.model.kept import Kept
from three_backup.model.periods import Period, newest_of_each
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
    # Of how many of the last days, weeks, months and years that have one the newest stays in S3.
    days: int = 0
    weeks: int = 0
    months: int = 0
    years: int = 0

    @property
    def periods(self) -> Mapping[Period, int]:
        """Those periods of which any are kept."""
        counts = zip(Period, (self.days, self.weeks, self.months, self.years), strict=True)
        return {period: count for period, count in counts if count}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one copy of a snapshot stays, and why."""

    snapshot: SnapshotId
    place: Place
    keep: bool
    reason: str  # in words for a person
    surplus: bool = False  # not worth uploading: it would be removed from S3 again
    # It would stay without the rules of time and without holds. What its server logged since then
    # stays only for such snapshots: else one that is held for ever would hold all that follows.
    counted: bool = False


def most_generous(limits: Iterable[Limits]) -> Limits:
    """Return the highest of each limit. limits: at least one."""
    every = tuple(limits)
    return Limits(
        max(each.bases_local for each in every),
        max(each.incrementals_local for each in every),
        max(each.bases_s3 for each in every),
        max(each.incrementals_s3 for each in every),
        max(each.days for each in every),
        max(each.weeks for each in every),
        max(each.months for each in every),
        max(each.years for each in every),
    )


def decide(
    candidates: Iterable[Candidate], limits: Limits, kept: Kept, zone: tzinfo = UTC
) -> list[Verdict]:
    """Return the verdicts on all copies of one carrier's snapshots, children before parents.

    zone: of the days, weeks, months and years.
    """
    known = Known(candidates, kept)
    surplus = _surplus(known, limits, zone)
    staying = _kept(known, _wanted(known, limits, surplus, zone))
    others = limits.periods or any(candidate.held for candidate in known.candidates)
    counted = _kept(known, _counted(known, limits, surplus)) if others else staying
    return [
        Verdict(
            copy.id,
            copy.place,
            copy in staying,
            staying.get(copy) or _expendable(known, copy, limits),
            copy.id in surplus,
            copy in counted,
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


def _surplus(known: Known, limits: Limits, zone: tzinfo) -> set[SnapshotId]:
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
    kept = _kept(then, _wanted(then, limits, surplus=(), zone=zone))
    return {snapshot_id for snapshot_id in uploaded if then.in_s3[snapshot_id.time] not in kept}


def _uploadable(known: Known) -> list[SnapshotId]:
    """Return the snapshots that can still be uploaded and are to be, oldest first."""
    unwanted = {
        candidate.stored.id for candidate in known.candidates if not candidate.wanted_in_s3
    }
    found = unsent(known.newest_first, known.kept, surplus=unwanted)
    return [snapshot_id for snapshot_id, obstacle in found.items() if obstacle is None]


def _kept(known: Known, wanted: Iterable[tuple[Copy, str]]) -> dict[Copy, str]:
    """Return the wanted copies and all that they need, each with the reason."""
    kept: dict[Copy, str] = {}
    for copy, reason in wanted:
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
    known: Known, limits: Limits, surplus: Collection[SnapshotId], zone: tzinfo
) -> Iterator[tuple[Copy, str]]:
    """Yield the copies that are kept for their own sake, each with the reason."""
    yield from _held(known)
    yield from _counted(known, limits, surplus)
    yield from _dated(known, limits, zone)


def _held(known: Known) -> Iterator[tuple[Copy, str]]:
    """Yield the copies that somebody holds: where S3 has all of a snapshot, that one alone."""
    for candidate in known.candidates:
        if candidate.held is None:
            continue
        yield known.best_copy(candidate.stored), candidate.held
        if candidate.local_only and candidate.stored.local:
            yield known.here[candidate.stored.id.time], candidate.held


def _dated(known: Known, limits: Limits, zone: tzinfo) -> Iterator[tuple[Copy, str]]:
    """Yield the copies in S3 that are the newest of their day, week, month or year."""
    whole = [copy.id.time for copy in known.in_s3.values() if known.restorable(copy)]
    by_now = [time for time in whole if time not in known.ahead]
    ahead = [time for time in whole if time in known.ahead]
    for period, most in limits.periods.items():
        for times, which in ((by_now, ""), (ahead, " of those from the future")):
            for time, name in newest_of_each(times, period, most, zone):
                yield known.in_s3[time], f"the newest of the {period} {name}{which}"


def _counted(
    known: Known, limits: Limits, surplus: Collection[SnapshotId]
) -> Iterator[tuple[Copy, str]]:
    """Yield the copies that stay without any rule of time and any hold, each with the reason."""
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
    dated = _a_period(limits) if place is Place.S3 else ""
    if limit == 0 and dated:
        return f"not the newest of {dated} that is kept {_WHERE[place]}, and nobody needs it"
    if limit == 0:
        return f"no {kind}s are to be kept {_WHERE[place]}, and nobody needs it"
    nor = f", nor the newest of {dated} that is kept" if dated else ""
    return f"not {_rank(limit, kind, place)}{nor}, and nobody needs it"


def _a_period(limits: Limits) -> str:
    """Name the periods of which any are kept: `a day, week or month`; empty without any."""
    words = [str(period) for period in limits.periods]
    if len(words) < 2:
        return f"a {words[0]}" if words else ""
    return f"a {', '.join(words[:-1])} or {words[-1]}"


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
