"""Take and restore snapshots of a live server as the tools do, without starting processes."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.config.settings import Settings
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.s3.store import Store
from three_backup.sources.base import Planned, Restored, Restorer
from three_backup.sources.clickhouse.source import ClickhouseSource
from three_backup.sources.jobs import (
    ClearJob,
    DirectJob,
    DrillJob,
    RestoreJob,
    SnapshotFiles,
    Wanted,
)


class Taking:
    """Takes, restores and drills snapshots of one server."""

    def __init__(self, server: ClickhouseServer, storage: Storage) -> None:
        self.server = server
        self.storage = storage
        self.settings = Settings(storage)  # of the source
        self.said: list[str] = []  # messages for people
        self.moved = 0  # bytes
        self.beats = 0  # the number of reports of progress with 0 bytes
        self._hours = count()

    @property
    def store(self) -> Store:
        return self.catalog.bucket

    @property
    def _restorer(self) -> Restorer:
        return ClickhouseSource().reading(self.store)

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.storage)

    def take(
        self,
        object_id: ObjectId,
        parent: Manifest | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Manifest:
        """Take a snapshot: a base, or an incremental on top of the parent.

        meanwhile: called after every report of progress with more than 0 bytes.
        """

        def advance(size: int) -> None:
            self.moved += size
            self.beats += size == 0
            if meanwhile is not None and size:
                meanwhile()

        carrier, catalog = Carrier(object_id), self.catalog
        time = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=next(self._hours))
        journals = self.journals(object_id)
        journals.mkdir(parents=True, exist_ok=True)
        stored = next(
            (have for have in catalog.snapshots(carrier) if parent and have.id == parent.snapshot),
            None,
        )
        job = DirectJob(
            carrier=carrier,
            snapshot=SnapshotId(time, parent.snapshot.time if parent else None),
            parent=catalog.files(carrier, stored) if stored else None,
            journals=journals,
            settings=lambda _: self.settings,
            source_settings=self.settings,
            program="three_backup test",
            host="here",
            advance=advance,
            say=self.said.append,
            store=catalog.bucket,
        )
        manifest = ClickhouseSource().take(job)
        self.store.write(layout.manifest_key(carrier, manifest.snapshot), manifest.to_json())
        shutil.rmtree(journals / str(manifest.snapshot))
        return manifest

    def skip(self, hours: int) -> None:
        """Set the time of the next snapshot to so many hours after the first."""
        self._hours = count(hours)

    def chain(self, object_id: ObjectId, *changes: str) -> list[Manifest]:
        """Take a base, and an incremental after each of the changes."""
        taken = [self.take(object_id)]
        for change in changes:
            self.server.execute(change)
            taken.append(self.take(object_id, taken[-1]))
        return taken

    def journals(self, object_id: ObjectId) -> Any:
        return self.catalog.local.journals(Carrier(object_id))

    def clear(self, object_id: ObjectId, before: datetime) -> None:
        journals = self.journals(object_id)
        ClickhouseSource().clear(ClearJob(Carrier(object_id), journals, self.store, before))

    def restore(
        self, object_id: ObjectId, *, overwrite: bool = False, last: int = -1, **levels: str
    ) -> Restored:
        """Restore under the given levels. Raises the error that it ended with."""
        job = self.restore_job(object_id, overwrite=overwrite, last=last, levels=levels)
        ((_, outcome),) = self._restorer.restore(job)
        if isinstance(outcome, BackupError):
            raise outcome
        return outcome

    def plan(self, object_id: ObjectId, *, overwrite: bool = False, **levels: str) -> Planned:
        """Plan what restore() would do. Raises the error that it would end with."""
        job = self.restore_job(object_id, overwrite=overwrite, last=-1, levels=levels)
        ((_, outcome),) = self._restorer.plan(job)
        if isinstance(outcome, BackupError):
            raise outcome
        return outcome

    def drill(self, object_id: ObjectId) -> Restored:
        """Drill the newest snapshot. Raises the error that it ended with."""
        chain = self._chain(object_id, -1)
        job = DrillJob(
            objects=chain[-1].manifest.objects,
            chain=chain,
            content=False,
            name="abc",
            source_settings=self.settings,
            work_dir=self.storage.local_dir,
            advance=lambda _: None,
            say=self.said.append,
        )
        ((_, outcome),) = self._restorer.drill(job)
        if isinstance(outcome, BackupError):
            raise outcome
        return outcome

    def restore_job(
        self, object_id: ObjectId, *, overwrite: bool, last: int, levels: Mapping[str, str]
    ) -> RestoreJob:
        return RestoreJob(
            wanted=[Wanted(object_id, replace(object_id, **levels))],
            chain=self._chain(object_id, last),
            overwrite=overwrite,
            source_settings=self.settings,
            work_dir=self.storage.local_dir,
            advance=lambda _: None,
            say=self.said.append,
        )

    def _chain(self, object_id: ObjectId, last: int) -> Sequence[SnapshotFiles]:
        catalog, carrier = self.catalog, Carrier(object_id)
        return Snapshot(catalog, carrier, catalog.snapshots(carrier)[last]).chain()

    def stored_keys(self, below: str = "data/") -> list[str]:
        return sorted(found.key for found in self.store.all_keys(below))


def table(database: str, name: str) -> ObjectId:
    return ObjectId("clickhouse", "table", "default", database, name)


def view(database: str, name: str) -> ObjectId:
    return ObjectId("clickhouse", "view", "default", database, name)


def rows(server: ClickhouseServer, object_id: ObjectId) -> Sequence[tuple[Any, ...]]:
    """Return the number of rows and a hash over all of them."""
    name = f"`{object_id.level2}`.`{object_id.level3.replace('`', '``')}`"
    return server.rows(f"SELECT count(), sum(cityHash64(*)) FROM {name}")


def leftovers(server: ClickhouseServer, database: str) -> list[tuple[Any, ...]]:
    return server.rows(
        "SELECT name FROM system.tables WHERE startsWith(name, '.tb-restore') "
        f"AND startsWith(database, '{database}')"
    )
