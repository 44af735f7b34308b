"""Whether a carrier is backed up as its schedules demand: what is late, and how bad that is. Pure.

A firing that no snapshot followed is late after a grace, in which a run may begin and do its
work. One that was missed is a warning, two in a row are critical.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from three_backup.catalog import Stored
from three_backup.config.settings import Settings
from three_backup.human import age
from three_backup.last_run import Made
from three_backup.planning import Clock, schedules
from three_backup.schedule import Cron
from three_backup.snapshots import Kind, chain, rfc3339
from three_backup.stages import Stage

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
    good = _restorable(snapshots, points)
    bases = schedules(settings, Kind.BASE, direct)
    increments = schedules(settings, Kind.INCREMENTAL, direct)
    wanted_in_s3 = any(one.max_stage.reaches(Stage.SYNCED_S3) for one in settings)
    base = max((one.id.time for one in good if one.id.kind is Kind.BASE), default=None)
    newest = good[-1].id.time if good else None
    uploaded = max((one.id.time for one in _restorable_from_s3(snapshots)), default=None)
    # An upload that waits for a snapshot is not late by itself.
    uploads = increments | bases if wanted_in_s3 and uploaded != newest else set()
    found = [
        *_failing(made),
        *_late("base snapshot", base, bases, patience, clock),
        *_late("snapshot", newest, increments, patience, clock),
        *_late("upload", uploaded, uploads, patience, clock),
        *_too_old(uploaded if wanted_in_s3 else newest, bases, patience, clock),
        *_broken(snapshots, good),
        *(_Trouble(Level.WARNING, one) for one in alarms),
    ]
    troubles = sorted(found, key=lambda one: -one.level)
    return Health(
        troubles[0].level if troubles else Level.OK,
        tuple(dict.fromkeys(one.sentence for one in troubles)),
        _chain(good),
        base,
        max((one.id.time for one in good if one.id.kind is Kind.INCREMENTAL), default=None),
        uploaded,
        _next(bases, clock),
        _next(increments, clock),
    )


def _restorable(snapshots: Sequence[Stored], points: bool = False) -> list[Stored]:
    """Those whose every link lies somewhere, oldest first."""
    ids = [one.id for one in snapshots]
    return [one for one in snapshots if (points and one.local) or chain(ids, one.id) is not None]


def _restorable_from_s3(snapshots: Sequence[Stored]) -> list[Stored]:
    return _restorable([one for one in snapshots if one.s3])


def _chain(good: Sequence[Stored]) -> Chain | None:
    if not good:
        return None
    links = chain((one.id for one in good), good[-1].id) or [good[-1].id]
    return Chain(links[0].time, links[-1].time, len(links) - 1)


def _failing(made: Made | None) -> Iterator[_Trouble]:
    if made is not None and made.failing_since is not None:
        since = rfc3339(made.failing_since)
        yield _Trouble(Level.WARNING, f"the runs fail since {since}: {made.why}")


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
