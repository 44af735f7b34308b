"""What is due for a carrier, how far its objects have come, and what is left to do. Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from three_backup.catalog import Stored
from three_backup.config.settings import Settings
from three_backup.schedule import Cron, is_due
from three_backup.snapshots import Kind, SnapshotId, chain, rfc3339
from three_backup.stages import Stage, taken


@dataclass(frozen=True, slots=True)
class Clock:
    """now: aware UTC; zone: where cron strings are read."""

    now: datetime
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Take:
    """The snapshot to take next: its kind, None for none, and why."""

    kind: Kind | None
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a carrier's snapshots have come. begun: some bytes of an unsynced one are in S3;
    stale_local, stale_s3: retention would remove something there."""

    newest: Kind | None
    unsynced: bool
    begun: bool
    stale_local: bool
    stale_s3: bool


def next_take(
    snapshots: Sequence[Stored],
    settings: Collection[Settings],
    broken: Callable[[SnapshotId], str | None],
    clock: Clock,
) -> Take:
    """What to take for a carrier whose objects have the settings; the earliest due counts.

    broken: asked only when an incremental is due; why none can follow the newest snapshot.
    """
    bases = _schedules(settings, Stage.SNAPSHOT_BASE)
    incrementals = _schedules(settings, Stage.SNAPSHOT_INCREMENTAL)
    if not bases:
        return Take(None, "max_stage is exists" if settings else "disabled")
    if not snapshots:
        return Take(Kind.BASE, "there is no snapshot yet")
    newest = snapshots[-1].id
    if chain((one.id for one in snapshots), newest) is None:
        return Take(Kind.BASE, f"a parent of {newest} is gone")
    newest_base = max(one.id.time for one in snapshots if one.id.kind is Kind.BASE)
    if fired := _fired(bases, newest_base, clock):
        return Take(Kind.BASE, f"no base snapshot since {rfc3339(fired)}")
    if fired := _fired(incrementals, newest.time, clock):
        reason = broken(newest)
        if reason is not None:
            return Take(Kind.BASE, reason)
        return Take(Kind.INCREMENTAL, f"no snapshot since {rfc3339(fired)}")
    following = min(one.next_firing(clock.now, clock.zone) for one in bases | incrementals)
    return Take(None, f"nothing is due before {rfc3339(following)}")


def stage(progress: Progress, max_stage: Stage) -> Stage:
    """The furthest stage that holds, given that each implies all before it."""
    if progress.newest is None:
        return Stage.EXISTS
    if not max_stage.reaches(Stage.SYNCED_S3):
        return min(taken(progress.newest), max_stage, key=lambda one: one.rank)
    if progress.unsynced:
        return Stage.PARTIALLY_SYNCED if progress.begun else taken(progress.newest)
    if progress.stale_local:
        return Stage.SYNCED_S3
    return Stage.ROTATED_LOCALLY if progress.stale_s3 else Stage.ROTATED_S3


def todo(current: Stage, max_stage: Stage, take: Kind | None) -> list[Stage]:
    """The stages to go through, in order, none beyond max_stage."""
    ahead = [Stage.SYNCED_S3, Stage.ROTATED_LOCALLY, Stage.ROTATED_S3]
    if current is Stage.EXISTS and take is None:
        return []
    if take is None:
        ahead = [one for one in ahead if not current.reaches(one)]
    else:
        ahead.insert(0, taken(take))
    return [one for one in ahead if max_stage.reaches(one)]


def _schedules(settings: Iterable[Settings], target: Stage) -> set[Cron]:
    base = target is Stage.SNAPSHOT_BASE
    return {
        one.base_schedule if base else one.incremental_schedule
        for one in settings
        if one.max_stage.reaches(target)
    }


def _fired(schedules: Iterable[Cron], newest: datetime, clock: Clock) -> datetime | None:
    """The newest firing that no snapshot followed."""
    due = (one for one in schedules if is_due(one, newest, clock.now, clock.zone))
    return max((one.last_firing(clock.now, clock.zone) for one in due), default=None)
