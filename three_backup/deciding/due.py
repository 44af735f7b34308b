"""Decides what is due for a carrier, how far its objects are, and what is left to do. Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from three_backup.config.settings import Settings
from three_backup.model.kept import Kept
from three_backup.model.local_time import local
from three_backup.model.records import Record
from three_backup.model.schedule import Cron, is_due
from three_backup.model.snapshots import Kind, SnapshotId, Stored, chain
from three_backup.model.stages import Stage, furthest, taken


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, and the time zone of schedules and of people."""

    now: datetime  # aware UTC
    zone: tzinfo  # of cron strings, and of sentences

    def shown(self, time: datetime) -> str:
        return local(time, self.zone)


@dataclass(frozen=True, slots=True)
class Take:
    """The snapshot to take next, and why."""

    kind: Kind | None  # None: no snapshot
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a carrier's snapshots have come."""

    newest: Kind | None  # None: there is no snapshot
    unsynced: bool  # S3 lacks a snapshot that retention would keep there
    begun: bool  # some bytes of an unsynced snapshot are in S3
    stale_local: bool  # retention would remove something on this host
    stale_s3: bool  # retention would remove something in S3


def next_take(
    snapshots: Sequence[Stored],
    settings: Collection[Settings],
    broken: Callable[[SnapshotId], str | None],
    clock: Clock,
    kept: Kept,
    *,
    partial: bool = False,
    wanted: Kind | None = None,
) -> Take:
    """Decide what to take for a carrier whose objects have the settings; the earliest due counts.

    broken: returns why no incremental can follow the newest snapshot, if so; asked only when one
    would be taken. partial: snapshots may lack some, so that neither a missing parent nor a
    missing base calls for a new base. wanted: the kind to take, whatever is due.
    """
    unavoidable = _unavoidable(snapshots, settings, kept, partial=partial)
    if unavoidable is not None:
        return unavoidable
    if wanted is None:
        take = _scheduled(snapshots, settings, clock, kept)
    else:
        take = _asked_for(wanted, settings, kept)
    reason = broken(snapshots[-1].id) if take.kind is Kind.INCREMENTAL else None
    return take if reason is None else Take(Kind.BASE, reason)


def _unavoidable(
    snapshots: Sequence[Stored], settings: Collection[Settings], kept: Kept, *, partial: bool
) -> Take | None:
    """Return what to take whatever is due or wanted; None if that decides."""
    if not schedules(settings, Kind.BASE, kept):
        return Take(None, _why_never(settings, kept))
    if not snapshots:
        return Take(Kind.BASE, "there is no snapshot yet")
    newest = snapshots[-1].id
    if not partial and chain((stored.id for stored in snapshots), newest) is None:
        return Take(Kind.BASE, f"a parent of {newest} is gone")
    return None


def _scheduled(
    snapshots: Sequence[Stored], settings: Collection[Settings], clock: Clock, kept: Kept
) -> Take:
    bases = schedules(settings, Kind.BASE, kept)
    incrementals = schedules(settings, Kind.INCREMENTAL, kept)
    newest = snapshots[-1].id
    bases_taken = (stored.id.time for stored in reversed(snapshots) if stored.id.parent is None)
    newest_base = next(bases_taken, newest.time)
    if fired := _fired(bases, newest_base, clock):
        return Take(Kind.BASE, f"no base snapshot since {clock.shown(fired)}")
    if fired := _fired(incrementals, newest.time, clock):
        return Take(Kind.INCREMENTAL, f"no snapshot since {clock.shown(fired)}")
    following = min(cron.next_firing(clock.now, clock.zone) for cron in bases | incrementals)
    return Take(None, f"nothing is due before {clock.shown(following)}")


def _asked_for(wanted: Kind, settings: Collection[Settings], kept: Kept) -> Take:
    can_be = schedules(settings, wanted, kept)
    return Take(wanted if can_be else Kind.BASE, f"asked for by --{wanted}")


def schedules(settings: Iterable[Settings], kind: Kind, kept: Kept) -> set[Cron]:
    """Return the schedules by which a carrier whose objects have the settings gets this kind."""
    target = taken(kind, kept)
    return {
        own.base_schedule if kind is Kind.BASE else own.incremental_schedule
        for own in settings
        if own.max_stage.reaches(target)
    }


def stage(progress: Progress, max_stage: Stage, kept: Kept) -> Stage:
    """Return the furthest stage that holds; each stage implies all before it."""
    direct = kept is Kept.DIRECT
    if progress.newest is None:
        return Stage.EXISTS
    if not max_stage.reaches(Stage.SYNCED_S3):
        return _lower(Stage.SNAPSHOT_BASE if direct else taken(progress.newest, kept), max_stage)
    if direct:
        return Stage.SYNCED_S3 if progress.stale_s3 else Stage.ROTATED_S3
    if progress.unsynced:
        return Stage.PARTIALLY_SYNCED if progress.begun else taken(progress.newest, kept)
    if progress.stale_local:
        return Stage.SYNCED_S3
    return Stage.ROTATED_LOCALLY if progress.stale_s3 else Stage.ROTATED_S3


def todo(current: Stage, max_stage: Stage, take: Kind | None, kept: Kept) -> list[Stage]:
    """Return the stages to go through, in order, none beyond max_stage."""
    direct = kept is Kept.DIRECT
    if current is Stage.EXISTS and take is None:
        return []
    ahead = [step for step in _AFTER_SNAPSHOT if not (direct and step is Stage.ROTATED_LOCALLY)]
    if take is None:
        ahead = [step for step in ahead if not current.reaches(step)]
    elif not direct:
        ahead.insert(0, taken(take, kept))
    elif take is Kind.BASE and max_stage.reaches(Stage.SYNCED_S3):
        ahead.insert(0, Stage.SNAPSHOT_BASE)
    return [step for step in ahead if max_stage.reaches(step)]


_AFTER_SNAPSHOT = (Stage.SYNCED_S3, Stage.ROTATED_LOCALLY, Stage.ROTATED_S3)


def _why_never(settings: Collection[Settings], kept: Kept) -> str:
    if not settings:
        return "disabled"
    highest = furthest(own.max_stage for own in settings)
    if kept is Kept.DIRECT and highest is not Stage.EXISTS:
        return f"max_stage is {highest}, but these snapshots lie in S3: nothing is taken"
    return f"max_stage is {highest}"


def _lower(one: Stage, other: Stage) -> Stage:
    return other if one.reaches(other) else one


def _fired(schedules: Iterable[Cron], newest: datetime, clock: Clock) -> datetime | None:
    """Return the newest firing that no snapshot followed."""
    due = (cron for cron in schedules if is_due(cron, newest, clock.now, clock.zone))
    return max((cron.last_firing(clock.now, clock.zone) for cron in due), default=None)


def unsupported(record: Record) -> Record:
    """Return the record of an object that cannot be backed up, planned for nothing, and why."""
    return record.with_fields(
        stage=Stage.EXISTS, max_stage=Stage.EXISTS, take=None, todo=[], why=record.unsupported
    )
