"""How a carrier stands and what is due for it: configuration, catalog and source put together."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from three_backup.catalog.catalog import Catalog, Stored
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.deciding import due
from three_backup.deciding.due import Clock, Progress, Take
from three_backup.model import layout
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.model.retention import (
    Candidate,
    Place,
    Verdict,
    decide,
    keeps_everything,
    most_generous,
)
from three_backup.model.schedule import host_zone, is_from_the_future
from three_backup.model.snapshots import Kind, SnapshotId, rfc3339
from three_backup.model.stages import Stage, taken
from three_backup.s3.journal import begun
from three_backup.sources import direct_source_of, point_source_of, source_of


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is the same for all objects of a carrier. snapshots: oldest first; held: what the
    newest of them has; unreadable: a part of the carrier could not be listed, so that nothing of
    it may be rotated; direct: its server writes snapshots to S3 itself."""

    take: Take
    progress: Progress
    snapshots: Sequence[Stored]
    held: Collection[ObjectId]
    unreadable: bool
    now: datetime
    direct: bool = False

    @property
    def newest(self) -> SnapshotId | None:
        return self._newest(lambda one: True)

    @property
    def from_the_future(self) -> bool:
        return self.newest is not None and is_from_the_future(self.newest.time, self.now)

    def planned(self, record: Record, settings: Settings) -> Record:
        """The record with its stage and what is left to do."""
        planned_at = {"planned_at": rfc3339(self.now)}
        if settings.disable:
            return record.with_fields(
                stage=Stage.EXISTS,
                max_stage=settings.max_stage,
                disabled=True,
                take=None,
                todo=[],
                why="disabled",
                **planned_at,
            )
        kind, why = self.take.kind, self.take.why
        stage = Stage.EXISTS
        if record.object in self.held:
            stage = due.stage(self.progress, settings.max_stage, self.direct)
        todo = due.todo(stage, settings.max_stage, kind, self.direct)
        if self.unreadable and not _ROTATIONS.isdisjoint(todo):
            todo = [one for one in todo if one not in _ROTATIONS]
            why += "; nothing is rotated while a part of the carrier cannot be read"
        return record.with_fields(
            stage=stage,
            max_stage=settings.max_stage,
            take=kind if kind and taken(kind, self.direct) in todo else None,
            todo=todo,
            why=why,
            newest=_named(self.newest),
            newest_base=_named(self._newest(lambda one: one.id.kind is Kind.BASE)),
            newest_s3=_named(self._newest(lambda one: one.s3)),
            **planned_at,
        )

    def _newest(self, meant: Callable[[Stored], bool]) -> SnapshotId | None:
        return next((one.id for one in reversed(self.snapshots) if meant(one)), None)


def unsupported(record: Record) -> Record:
    """What is planned for an object that cannot be backed up: nothing, and why."""
    return record.with_fields(
        stage=Stage.EXISTS, max_stage=Stage.EXISTS, take=None, todo=[], why=record.unsupported
    )


_ROTATIONS = {Stage.ROTATED_LOCALLY, Stage.ROTATED_S3}


def outlook(
    carrier: str,
    records: Sequence[Record],
    configuration: Configuration,
    catalog: Catalog,
    now: datetime,
) -> Outlook:
    """records: those of the carrier, at least one of them of a live object."""
    live = {record.object: record for record in records if not record.failed}
    snapshots = catalog.snapshots(carrier)
    held = _held(carrier, live, catalog, snapshots)
    settings = {one: configuration.settings(one) for one in (*live, *held)}
    type = next(iter(live)).type
    source, direct = source_of(type), direct_source_of(type) is not None

    def broken(newest: SnapshotId) -> str | None:
        lost = catalog.lost(carrier, snapshots, newest)
        if lost is not None:
            return lost
        judged = [(record.fields, settings[object_id]) for object_id, record in live.items()]
        return source.broken_chain(judged, catalog.manifest(carrier, snapshots[-1]))

    enabled = distinct(settings.values())
    return Outlook(
        due.next_take(
            snapshots,
            enabled,
            broken,
            Clock(now, host_zone(os.environ)),
            direct,
            catalog.partial,
        ),
        _progress(carrier, snapshots, enabled, catalog),
        snapshots,
        frozenset(held),
        any(record.failed for record in records),
        now,
        direct,
    )


def _named(snapshot: SnapshotId | None) -> str | None:
    return str(snapshot) if snapshot else None


def carried(
    carrier: str,
    live: Iterable[ObjectId],
    configuration: Configuration,
    catalog: Catalog,
    snapshots: Sequence[Stored],
) -> dict[ObjectId, Settings]:
    """The settings of everything a carrier carries: what is live, and what its newest snapshot
    holds though a selection may have kept it from us."""
    ids = list(live)
    held = _held(carrier, ids, catalog, snapshots)
    return {object_id: configuration.settings(object_id) for object_id in (*ids, *held)}


def _held(
    carrier: str, live: Iterable[ObjectId], catalog: Catalog, snapshots: Sequence[Stored]
) -> list[ObjectId]:
    """What the newest snapshot has: not a table that came after it, or while it was taken."""
    if not snapshots:
        return []
    alone = [one for one in live if str(one) == carrier]
    return alone or [one.id for one in catalog.manifest(carrier, snapshots[-1]).objects]


def distinct(settings: Iterable[Settings]) -> list[Settings]:
    """Each once, without those of disabled objects: ten thousand objects share a few."""
    return list({id(one): one for one in settings if not one.disable}.values())


def verdicts(
    carrier: str, snapshots: Sequence[Stored], settings: Sequence[Settings], catalog: Catalog
) -> list[Verdict]:
    """What retention says of each copy, children before their parents.

    settings: of the enabled objects that the carrier carries; without any nothing is removed.
    """
    if not settings:
        return []
    wanted = any(one.max_stage.reaches(Stage.SYNCED_S3) for one in settings)
    candidates = _candidates(carrier, snapshots, wanted, catalog)
    points = point_source_of(carrier.partition("/")[0]) is not None
    return decide(candidates, most_generous(one.limits for one in settings), points=points)


def _candidates(
    carrier: str, snapshots: Sequence[Stored], wanted: bool, catalog: Catalog
) -> list[Candidate]:
    # Manifests that lie in S3 only are read where something here could depend on them.
    apart = any(one.local and _has_local_files(carrier, one, catalog) for one in snapshots)
    return [
        Candidate(
            one.id,
            one.local,
            one.s3,
            wanted,
            local_only=apart and _has_local_files(carrier, one, catalog),
            lost=apart and bool(catalog.lost_files(carrier, one)),
        )
        for one in snapshots
    ]


def _has_local_files(carrier: str, stored: Stored, catalog: Catalog) -> bool:
    return any(file.local_only for file in catalog.manifest(carrier, stored).files)


def _progress(
    carrier: str, snapshots: Sequence[Stored], settings: Sequence[Settings], catalog: Catalog
) -> Progress:
    decided = _decided(carrier, snapshots, settings, catalog)
    surplus = {one.snapshot for one in decided if one.surplus}
    unsynced = [one for one in snapshots if not one.s3 and one.id not in surplus]
    stale = {one.place for one in decided if not one.keep}
    return Progress(
        snapshots[-1].id.kind if snapshots else None,
        unsynced=bool(unsynced),
        begun=any(_is_begun(carrier, one.id, catalog) for one in unsynced),
        stale_local=Place.LOCAL in stale,
        stale_s3=Place.S3 in stale,
    )


def _decided(
    carrier: str, snapshots: Sequence[Stored], settings: Sequence[Settings], catalog: Catalog
) -> list[Verdict]:
    """What retention says; nothing where it plainly keeps all, even once all is uploaded."""
    uploaded = [one if one.s3 else one._replace(s3=True) for one in snapshots]
    if settings and keeps_everything(uploaded, most_generous(one.limits for one in settings)):
        return []
    return verdicts(carrier, snapshots, settings, catalog)


def _is_begun(carrier: str, snapshot: SnapshotId, catalog: Catalog) -> bool:
    """Whether some bytes of the snapshot are in S3, though not all."""
    if begun(catalog.local.journals(carrier, snapshot)):
        return True
    store = catalog.s3
    return store is not None and any(store.keys(f"{layout.data_folder(carrier, snapshot)}/"))
