"""Whether a carrier is backed up as its schedules demand: what is late, and how bad that is. Pure.

A firing that no snapshot followed is late after a grace, in which a run may begin and do its
work. One that was missed is a warning, two in a row are critical.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from three_backup.catalog.catalog import Stored
from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock, schedules
from three_backup.model.schedule import Cron
from three_backup.model.snapshots import Kind, chain, rfc3339
from three_backup.model.stages import Stage
from three_backup.screen.formats import age
from three_backup.watching.last_run import Made

_SECOND = timedelta(seconds=1)


class Level(IntEnum):
    """How things stand, as Nagios counts."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """grace: what a run may take; max_age: of the newest good snapshot, whatever the schedules
    say, None for no bound."""

    grace: timedelta
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The newest chain that can be restored. increments: how many follow the base."""

    base: datetime
    newest: datetime
    increments: int


@dataclass(frozen=True, slots=True)
class Health:
    """base, incremental, uploaded: when the last good one was taken; next_base, next_incremental:
    when the next is due; None for never. troubles: sentences, the worst first."""

    level: Level
    troubles: tuple[str, ...] = ()
    chain: Chain | None = None
    base: datetime | None = None
    incremental: datetime | None = None
    uploaded: datetime | None = None
    next_base: datetime | None = None
    next_incremental: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Trouble:
    level: Level
    sentence: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """By which schedules the carrier is backed up, and whether into S3."""

    bases: Collection[Cron]
    increments: Collection[Cron]
    in_s3: bool


@dataclass(frozen=True, slots=True)
class _Taken:
    """good: the snapshots that can be restored, oldest first; base, incremental, newest: when the
    last of a kind and of all was taken; uploaded: of those that S3 alone restores."""

    good: Sequence[Stored]
    base: datetime | None
    incremental: datetime | None
    newest: datetime | None
    uploaded: datetime | None


def judge(
    snapshots: Sequence[Stored],
    settings: Collection[Settings],
    made: Made | None,
    patience: Patience,
    clock: Clock,
    direct: bool = False,
    points: bool = False,
    alarms: Sequence[str] = (),
) -> Health:
    """settings: of the enabled objects that the carrier carries. made: what the last run that saw
    it made of it; None where nobody knows. direct: its server writes snapshots to S3 itself.
    points: what lies on this host is good without its parents. alarms: sentences on sizes and
    drills."""
    wanted = _wanted(settings, direct)
    taken = _taken(snapshots, points)
    found = [
        *_failing(made),
        *_behind(taken, wanted, patience, clock),
        *_broken(snapshots, taken.good),
        *(_Trouble(Level.WARNING, one) for one in alarms),
    ]
    troubles = sorted(found, key=lambda one: -one.level)
    return Health(
        level=troubles[0].level if troubles else Level.OK,
        troubles=tuple(dict.fromkeys(one.sentence for one in troubles)),
        chain=_chain(taken.good),
        base=taken.base,
        incremental=taken.incremental,
        uploaded=taken.uploaded,
        next_base=_next(wanted.bases, clock),
        next_incremental=_next(wanted.increments, clock),
    )


def _wanted(settings: Collection[Settings], direct: bool) -> _Wanted:
    return _Wanted(
        bases=schedules(settings, Kind.BASE, direct),
        increments=schedules(settings, Kind.INCREMENTAL, direct),
        in_s3=any(one.max_stage.reaches(Stage.SYNCED_S3) for one in settings),
    )


def _taken(snapshots: Sequence[Stored], points: bool) -> _Taken:
    good = _restorable(snapshots, points)
    return _Taken(
        good=good,
        base=_newest(one for one in good if one.id.kind is Kind.BASE),
        incremental=_newest(one for one in good if one.id.kind is Kind.INCREMENTAL),
        newest=_newest(good),
        uploaded=_newest(_restorable([one for one in snapshots if one.s3])),
    )


def _restorable(snapshots: Sequence[Stored], points: bool = False) -> list[Stored]:
    """Those whose every link lies somewhere, oldest first."""
    ids = [one.id for one in snapshots]
    return [one for one in snapshots if (points and one.local) or chain(ids, one.id) is not None]


def _newest(snapshots: Iterable[Stored]) -> datetime | None:
    return max((one.id.time for one in snapshots), default=None)


def _chain(good: Sequence[Stored]) -> Chain | None:
    if not good:
        return None
    links = chain((one.id for one in good), good[-1].id) or [good[-1].id]
    return Chain(links[0].time, links[-1].time, len(links) - 1)


def _failing(made: Made | None) -> Iterator[_Trouble]:
    if made is not None and made.failing_since is not None:
        since = rfc3339(made.failing_since)
        yield _Trouble(Level.WARNING, f"the runs fail since {since}: {made.why}")


def _behind(
    taken: _Taken, wanted: _Wanted, patience: Patience, clock: Clock
) -> Iterator[_Trouble]:
    """What the schedules demand and is not there."""
    yield from _late("base snapshot", taken.base, wanted.bases, patience, clock)
    yield from _late("snapshot", taken.newest, wanted.increments, patience, clock)
    # An upload that waits for a snapshot is not late by itself.
    if wanted.in_s3 and taken.uploaded != taken.newest:
        both = {*wanted.increments, *wanted.bases}
        yield from _late("upload", taken.uploaded, both, patience, clock)
    newest = taken.uploaded if wanted.in_s3 else taken.newest
    yield from _too_old(newest, wanted.bases, patience, clock)


def _late(
    what: str,
    newest: datetime | None,
    due: Collection[Cron],
    patience: Patience,
    clock: Clock,
) -> Iterator[_Trouble]:
    """due: by these schedules; without any nothing is expected."""
    if not due:
        return
    if newest is None:
        yield _Trouble(Level.WARNING, f"there is no {what} yet")
        return
    settled = clock.now - patience.grace
    fired = max(one.last_firing(settled, clock.zone) for one in due)
    if newest >= fired:
        return
    before = max(one.last_firing(fired - _SECOND, clock.zone) for one in due)
    level = Level.WARNING if newest >= before else Level.CRITICAL
    old = age(newest, clock.now)
    yield _Trouble(level, f"the newest {what} is {old} old, one was due at {rfc3339(fired)}")


def _too_old(
    newest: datetime | None, due: Collection[Cron], patience: Patience, clock: Clock
) -> Iterator[_Trouble]:
    if patience.max_age is None or not due:
        return
    if newest is None:
        yield _Trouble(Level.CRITICAL, "there is no good snapshot")
    elif clock.now - newest > patience.max_age:
        old = age(newest, clock.now)
        yield _Trouble(Level.CRITICAL, f"the newest good snapshot is {old} old, which is too old")


def _broken(snapshots: Sequence[Stored], good: Sequence[Stored]) -> Iterator[_Trouble]:
    if snapshots and (not good or good[-1].id != snapshots[-1].id):
        newest = snapshots[-1].id
        yield _Trouble(Level.WARNING, f"{newest} cannot be restored, a parent of it is gone")


def _next(due: Collection[Cron], clock: Clock) -> datetime | None:
    return min((one.next_firing(clock.now, clock.zone) for one in due), default=None)
