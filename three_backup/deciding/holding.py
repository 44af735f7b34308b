"""Combines configuration, catalog and source: how a carrier stands, and what is due for it."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from three_backup.catalog.catalog import Catalog
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.deciding import due
from three_backup.deciding.candidates import candidates_of, held
from three_backup.deciding.due import Clock, Progress, Take
from three_backup.deciding.locked import heeding_locks
from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.records import Record
from three_backup.model.retention import (
    Candidate,
    Limits,
    Place,
    Verdict,
    decide,
    keeps_everything,
    most_generous,
)
from three_backup.model.schedule import host_zone, is_from_the_future
from three_backup.model.snapshots import Kind, SnapshotId, Stored, rfc3339
from three_backup.model.stages import Stage, taken
from three_backup.model.uploading import unsent
from three_backup.s3.journal import begun
from three_backup.sources import source_of


@dataclass(frozen=True, slots=True)
class Holding:
    """A carrier as it stands: its snapshots, and the settings of all that it carries."""

    carrier: Carrier
    catalog: Catalog
    snapshots: Sequence[Stored]  # oldest first
    settings: Sequence[Settings]  # those of its enabled objects, each once
    now: datetime  # aware UTC

    @classmethod
    def of(
        cls,
        carrier: Carrier,
        live: Iterable[ObjectId],
        configuration: Configuration,
        catalog: Catalog,
        snapshots: Sequence[Stored],
        now: datetime,
    ) -> Self:
        """Read the settings of the live objects and of those in the carrier's newest snapshot.

        A selection may have left the latter out of live. Raises BackupError if the manifest of
        the newest snapshot cannot be read.
        """
        ids = list(live)
        held = _held(carrier, ids, catalog, snapshots)
        settings = distinct(configuration.settings(object_id) for object_id in (*ids, *held))
        return cls(carrier, catalog, snapshots, settings, now)

    @property
    def kept(self) -> Kept:
        return source_of(self.carrier.type).kept

    @property
    def goes_to_s3(self) -> bool:
        """Whether some object of the carrier is to be uploaded."""
        return any(own.max_stage.reaches(Stage.SYNCED_S3) for own in self.settings)

    def verdicts(self) -> list[Verdict]:
        """Return the verdict of retention on each copy, children before their parents.

        Without any enabled object nothing is removed. Raises BackupError if it cannot be read
        which snapshots are held or locked.
        """
        if not self.settings:
            return []
        told = held(self._candidates(), self.carrier, self.catalog, self.now)
        return self._decided(told, asking=True)

    def surplus(self) -> set[SnapshotId]:
        """Return the snapshots that retention would at once remove from S3 again."""
        return {verdict.snapshot for verdict in self._foreseen() if verdict.surplus}

    def once_uploaded(self) -> "Holding":
        """Return the carrier as it stands when tb-upload has sent all that it sends."""
        if not self.goes_to_s3:
            return self
        obstacles = unsent(self.snapshots, self.kept, self.surplus())
        sent = {snapshot_id for snapshot_id, obstacle in obstacles.items() if obstacle is None}
        lying = [stored._replace(s3=stored.s3 or stored.id in sent) for stored in self.snapshots]
        return replace(self, snapshots=lying)

    def next_take(
        self,
        clock: Clock,
        broken: Callable[[SnapshotId], str | None],
        wanted: Kind | None = None,
    ) -> Take:
        """Return the snapshot to take next.

        broken: why no incremental can follow this one. wanted: the kind, whatever is due.
        """
        return due.next_take(
            self.snapshots,
            self.settings,
            broken,
            clock,
            self.kept,
            partial=self.catalog.partial,
            wanted=wanted,
        )

    def progress(self) -> Progress:
        decided = [] if self._keeps_everything() else self._foreseen()
        surplus = {verdict.snapshot for verdict in decided if verdict.surplus}
        unsynced = [
            stored for stored in self.snapshots if not stored.s3 and stored.id not in surplus
        ]
        stale = {verdict.place for verdict in decided if not verdict.keep}
        return Progress(
            self.snapshots[-1].id.kind if self.snapshots else None,
            unsynced=bool(unsynced),
            begun=any(_is_begun(self.carrier, stored.id, self.catalog) for stored in unsynced),
            stale_local=Place.LOCAL in stale,
            # What is hollow is looked at again by each run, until somebody has put it right.
            stale_s3=Place.S3 in stale or bool(self.catalog.hollow.of(self.carrier)),
        )

    def _foreseen(self) -> list[Verdict]:
        """Return the verdicts; S3 is asked for holds only if something would go without them.

        Holds that cannot be read count as none: tb-rotate says so, and removes nothing.
        """
        if not self.settings:
            return []
        candidates = self._candidates()
        decided = self._decided(candidates)
        if all(verdict.keep and not verdict.surplus for verdict in decided):
            return decided
        with suppress(BackupError):
            return self._decided(held(candidates, self.carrier, self.catalog, self.now))
        return decided

    def _decided(self, candidates: Sequence[Candidate], *, asking: bool = False) -> list[Verdict]:
        """asking: see heeding_locks."""
        limits = self._limits
        zone = host_zone(os.environ) if limits.periods else UTC
        verdicts = decide(candidates, limits, self.kept, zone)
        return heeding_locks(verdicts, self.carrier, self.catalog, self.now, asking=asking)

    def _candidates(self) -> list[Candidate]:
        return candidates_of(
            self.carrier, self.snapshots, self.catalog, self.now, wanted=self.goes_to_s3
        )

    def _keeps_everything(self) -> bool:
        """Whether retention plainly keeps all, even once all is uploaded."""
        uploaded = [stored if stored.s3 else stored._replace(s3=True) for stored in self.snapshots]
        return bool(self.settings) and keeps_everything(uploaded, self._limits)

    @property
    def _limits(self) -> Limits:
        return most_generous(own.limits for own in self.settings)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The part of a plan that all objects of a carrier share."""

    take: Take
    progress: Progress
    snapshots: Sequence[Stored]  # oldest first
    held: Collection[ObjectId]  # the objects in the newest snapshot
    unreadable: bool  # a part of the carrier could not be listed: nothing of it may be rotated
    now: datetime
    kept: Kept

    @property
    def newest(self) -> SnapshotId | None:
        return self._newest(lambda stored: True)

    @property
    def from_the_future(self) -> bool:
        return self.newest is not None and is_from_the_future(self.newest.time, self.now)

    def planned(self, record: Record, settings: Settings) -> Record:
        """Return the record with its stage and what is left to do."""
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
            stage = due.stage(self.progress, settings.max_stage, self.kept)
        todo = due.todo(stage, settings.max_stage, kind, self.kept)
        if self.unreadable and not _ROTATIONS.isdisjoint(todo):
            todo = [step for step in todo if step not in _ROTATIONS]
            why += "; nothing is rotated while a part of the carrier cannot be read"
        return record.with_fields(
            stage=stage,
            max_stage=settings.max_stage,
            take=kind if kind and taken(kind, self.kept) in todo else None,
            todo=todo,
            why=why,
            newest=_named(self.newest),
            newest_base=_named(self._newest(lambda stored: stored.id.kind is Kind.BASE)),
            newest_s3=_named(self._newest(lambda stored: stored.s3)),
            **planned_at,
        )

    def _newest(self, meant: Callable[[Stored], bool]) -> SnapshotId | None:
        return next((stored.id for stored in reversed(self.snapshots) if meant(stored)), None)


_ROTATIONS = {Stage.ROTATED_LOCALLY, Stage.ROTATED_S3}


def outlook(
    carrier: Carrier,
    records: Sequence[Record],
    configuration: Configuration,
    catalog: Catalog,
    now: datetime,
    wanted: Kind | None = None,
) -> Outlook:
    """Work out how a carrier stands. wanted: the kind of snapshot to take, whatever is due.

    records: those of the carrier, at least one of a live object.
    """
    live = {record.object: record for record in records if not record.failed}
    snapshots = catalog.filled(carrier)
    held = _held(carrier, live, catalog, snapshots)
    settings = {object_id: configuration.settings(object_id) for object_id in (*live, *held)}
    holding = Holding(carrier, catalog, snapshots, distinct(settings.values()), now)
    source = source_of(carrier.type)

    def broken(newest: SnapshotId) -> str | None:
        lost = catalog.lost(carrier, snapshots, newest)
        if lost is not None:
            return lost
        judged = [(record.fields, settings[object_id]) for object_id, record in live.items()]
        return source.broken_chain(judged, catalog.manifest(carrier, snapshots[-1]))

    return Outlook(
        holding.next_take(Clock(now, host_zone(os.environ)), broken, wanted),
        holding.progress(),
        snapshots,
        frozenset(held),
        any(record.failed for record in records),
        now,
        holding.kept,
    )


def _named(snapshot: SnapshotId | None) -> str | None:
    return str(snapshot) if snapshot else None


def _held(
    carrier: Carrier, live: Iterable[ObjectId], catalog: Catalog, snapshots: Sequence[Stored]
) -> list[ObjectId]:
    """Return the objects in the newest snapshot, without tables created during it or later."""
    if not snapshots:
        return []
    alone = [object_id for object_id in live if str(object_id) == carrier]
    return alone or [held.id for held in catalog.manifest(carrier, snapshots[-1]).objects]


def distinct(settings: Iterable[Settings]) -> list[Settings]:
    """Return each settings once, none of disabled objects: ten thousand objects share a few."""
    return list({id(own): own for own in settings if not own.disable}.values())


def _is_begun(carrier: Carrier, snapshot: SnapshotId, catalog: Catalog) -> bool:
    """Return whether some bytes of the snapshot are in S3, though not all."""
    if begun(catalog.local.journals(carrier, snapshot)):
        return True
    store = catalog.s3
    return store is not None and any(store.keys(f"{layout.data_folder(carrier, snapshot)}/"))
