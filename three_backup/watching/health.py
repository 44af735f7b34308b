"""Judges whether a carrier is backed up as its schedules demand. Pure.

A firing that no snapshot followed is late after a grace period, in which a run may begin and do
its work. One missed firing is a warning, two in a row are critical.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from types import MappingProxyType

from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock, schedules
from three_backup.model.dependencies import missing_links
from three_backup.model.kept import Kept
from three_backup.model.schedule import Cron
from three_backup.model.snapshots import Kind, SnapshotId, Stored, chain, stamp
from three_backup.model.stages import Stage
from three_backup.screen.formats import age
from three_backup.watching.last_run import Made

_SECOND = timedelta(seconds=1)


class Level(IntEnum):
    """How things stand, numbered as in Nagios."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """How late or old snapshots may be."""

    grace: timedelta = timedelta(hours=2)  # the time that a run may take
    # Of the newest good snapshot, whatever the schedules say; None: no bound.
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The newest chain that can be restored."""

    base: datetime
    newest: datetime
    increments: int  # how many follow the base


@dataclass(frozen=True, slots=True)
class Health:
    """How a carrier stands. A time is None for never."""

    level: Level
    troubles: tuple[str, ...] = ()  # sentences, the worst first
    chain: Chain | None = None
    oldest: datetime | None = None  # when the oldest good one was taken
    # When the last good one was taken.
    base: datetime | None = None
    incremental: datetime | None = None
    uploaded: datetime | None = None
    # When the newest copy in each further store was taken, by the name of the store.
    copied: Mapping[str, datetime | None] = field(default_factory=dict)
    # When the next one is due.
    next_base: datetime | None = None
    next_incremental: datetime | None = None
    due: datetime | None = None  # when the first snapshot was or is due that is not there


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong."""

    level: Level
    sentence: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How the carrier is to be backed up."""

    bases: Collection[Cron]  # the schedules of bases
    increments: Collection[Cron]  # the schedules of incrementals
    in_s3: bool  # snapshots are to go to S3


@dataclass(frozen=True, slots=True)
class _Taken:
    """The good snapshots of a carrier, and when the last ones were taken; None for never."""

    good: Sequence[Stored]  # those that can be restored, oldest first
    # The others, oldest first, each with the time of the link that is gone.
    missing: Mapping[SnapshotId, datetime]
    base: datetime | None
    incremental: datetime | None
    newest: datetime | None  # of either kind
    uploaded: datetime | None  # of those that S3 alone can restore


def judge(
    snapshots: Sequence[Stored],
    settings: Collection[Settings],
    made: Made | None,
    patience: AgeLimits,
    clock: Clock,
    kept: Kept,
    alarms: Sequence[Trouble] = (),
    copied: Mapping[str, datetime | None] = MappingProxyType({}),
) -> Health:
    """Judge how a carrier stands.

    settings: of the enabled objects that the carrier carries. made: what the last run that saw the
    carrier made of it; None where not known. alarms: on sizes, drills and WAL. copied: when the
    newest copy in each store of copy_to was taken, as far as known.
    """
    wanted = _wanted(settings, kept)
    taken = _taken(snapshots, kept)
    found = [
        *_failing(made, clock),
        *_behind(taken, wanted, patience, clock),
        *_uncopied(copied, taken, wanted, patience, clock),
        *_broken(taken),
        *alarms,
    ]
    troubles = sorted(found, key=lambda trouble: -trouble.level)
    return Health(
        level=troubles[0].level if troubles else Level.OK,
        troubles=tuple(dict.fromkeys(trouble.sentence for trouble in troubles)),
        chain=_chain(taken.good),
        oldest=taken.good[0].id.time if taken.good else None,
        base=taken.base,
        incremental=taken.incremental,
        uploaded=taken.uploaded,
        copied=copied,
        next_base=_next(wanted.bases, clock),
        next_incremental=_next(wanted.increments, clock),
        due=_due(taken, wanted, clock),
    )


def _wanted(settings: Collection[Settings], kept: Kept) -> _Wanted:
    return _Wanted(
        bases=schedules(settings, Kind.BASE, kept),
        increments=schedules(settings, Kind.INCREMENTAL, kept),
        in_s3=any(own.max_stage.reaches(Stage.SYNCED_S3) for own in settings),
    )


def _taken(snapshots: Sequence[Stored], kept: Kept) -> _Taken:
    missing = missing_links(snapshots, kept)
    good = [stored for stored in snapshots if stored.id not in missing]
    in_s3 = [stored for stored in snapshots if stored.s3]
    missing_in_s3 = missing_links(in_s3, Kept.FOLDERS)
    return _Taken(
        good=good,
        missing=missing,
        base=_newest(stored for stored in good if stored.id.kind is Kind.BASE),
        incremental=_newest(stored for stored in good if stored.id.kind is Kind.INCREMENTAL),
        newest=_newest(good),
        uploaded=_newest(stored for stored in in_s3 if stored.id not in missing_in_s3),
    )


def _newest(snapshots: Iterable[Stored]) -> datetime | None:
    return max((stored.id.time for stored in snapshots), default=None)


def _chain(good: Sequence[Stored]) -> Chain | None:
    if not good:
        return None
    links = chain((stored.id for stored in good), good[-1].id) or [good[-1].id]
    return Chain(links[0].time, links[-1].time, len(links) - 1)


def _failing(made: Made | None, clock: Clock) -> Iterator[Trouble]:
    if made is not None and made.failing_since is not None:
        since = clock.shown(made.failing_since)
        yield Trouble(Level.WARNING, f"the runs fail since {since}: {made.why}")


def _behind(
    taken: _Taken, wanted: _Wanted, patience: AgeLimits, clock: Clock
) -> Iterator[Trouble]:
    """Yield what the schedules demand but is not there."""
    yield from _late("base snapshot", taken.base, wanted.bases, patience, clock)
    yield from _late("snapshot", taken.newest, wanted.increments, patience, clock)
    # Where all is uploaded only the next snapshot can be late, not its upload.
    if wanted.in_s3 and taken.uploaded != taken.newest:
        both = {*wanted.increments, *wanted.bases}
        yield from _late("upload", taken.uploaded, both, patience, clock)
    newest = taken.uploaded if wanted.in_s3 else taken.newest
    yield from _too_old(newest, wanted.bases, patience, clock)


def _uncopied(
    copied: Mapping[str, datetime | None],
    taken: _Taken,
    wanted: _Wanted,
    patience: AgeLimits,
    clock: Clock,
) -> Iterator[Trouble]:
    """Yield what a further store lacks, or has though S3 lacks it: copies are due as uploads are.

    Where all that is uploaded is copied only the next upload can be late.
    """
    both = {*wanted.increments, *wanted.bases}
    for store, newest in copied.items():
        if newest == taken.uploaded:
            continue
        if newest is not None and (taken.uploaded is None or newest > taken.uploaded):
            yield Trouble(
                Level.CRITICAL,
                f"store {store} has a newer snapshot than S3, of {stamp(newest)}: find out what "
                f"became of it; tb-restore --store {store} has it",
            )
        else:
            yield from _late(f"copy in store {store}", newest, both, patience, clock)


def _late(
    what: str,
    newest: datetime | None,
    due: Collection[Cron],
    patience: AgeLimits,
    clock: Clock,
) -> Iterator[Trouble]:
    """Yield a trouble if a firing was missed. due: the schedules; without any all is well."""
    if not due:
        return
    if newest is None:
        yield Trouble(Level.WARNING, f"there is no {what} yet")
        return
    settled = clock.now - patience.grace
    fired = max(cron.last_firing(settled, clock.zone) for cron in due)
    if newest >= fired:
        return
    before = max(cron.last_firing(fired - _SECOND, clock.zone) for cron in due)
    level = Level.WARNING if newest >= before else Level.CRITICAL
    old = age(newest, clock.now)
    yield Trouble(level, f"the newest {what} is {old} old, one was due at {clock.shown(fired)}")


def _too_old(
    newest: datetime | None, due: Collection[Cron], patience: AgeLimits, clock: Clock
) -> Iterator[Trouble]:
    if patience.max_age is None or not due:
        return
    if newest is None:
        yield Trouble(Level.CRITICAL, "there is no good snapshot")
    elif clock.now - newest > patience.max_age:
        old = age(newest, clock.now)
        yield Trouble(Level.CRITICAL, f"the newest good snapshot is {old} old, which is too old")


def _broken(taken: _Taken) -> Iterator[Trouble]:
    if not taken.missing:
        return
    newest, link = list(taken.missing.items())[-1]
    before = len(taken.missing) - 1
    others = f" and {before} before it" if before else ""
    whole = f"the newest that can is {taken.good[-1].id}" if taken.good else "none can"
    sentence = (
        f"{newest}{others} cannot be restored: that of {stamp(link)}, on which it builds, "
        f"is gone; {whole}"
    )
    yield Trouble(Level.WARNING, sentence)


def _due(taken: _Taken, wanted: _Wanted, clock: Clock) -> datetime | None:
    """Return when the first snapshot was or is due that is not there; None without a newest."""
    newest = taken.uploaded if wanted.in_s3 else taken.newest
    both = {*wanted.increments, *wanted.bases}
    since = ((newest, both), (taken.base, wanted.bases))
    return min(
        (
            cron.next_firing(time, clock.zone)
            for time, crons in since
            if time is not None
            for cron in crons
        ),
        default=None,
    )


def _next(due: Collection[Cron], clock: Clock) -> datetime | None:
    return min((cron.next_firing(clock.now, clock.zone) for cron in due), default=None)
