"""Keeps snapshots in folders of this host, from which they are uploaded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.keeping.base import KeptNearby
from three_backup.keeping.sending import Sending, Sent, sent_files
from three_backup.model.findings import Finding
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Kind, Manifest, SnapshotId, Stored
from three_backup.screen.progress import Transfer
from three_backup.sources.base import FolderSource
from three_backup.sources.jobs import CheckJob, FolderJob, Room, Say, SnapshotJob
from three_backup.sources.looking import LookedInto


@dataclass(frozen=True, slots=True)
class FolderKeeping(KeptNearby):
    source: FolderSource

    @property
    def logged(self) -> FolderSource:
        return self.source

    def known(
        self, catalog: Catalog, carrier: Carrier, listed: Sequence[Stored], say: Say
    ) -> Sequence[Stored]:
        return listed

    def check(self, job: CheckJob, catalog: Catalog) -> Iterator[Finding]:
        folder = catalog.storage.local_dir
        room = Room(folder, _free(folder), _last_base(catalog, self.source.type))
        return self.source.check(replace(job, room=room))

    def take(self, catalog: Catalog, job: SnapshotJob) -> Manifest:
        with catalog.local.begin(job.carrier, job.snapshot) as directory:
            manifest = self.source.take(FolderJob(**vars(job), directory=directory))
            catalog.local.commit(directory, manifest)
        return manifest

    def size_to_send(self, manifest: Manifest) -> int:
        return sum(file.size for file in sent_files(manifest))

    def send(self, catalog: Catalog, manifest: Manifest, progress: Transfer) -> Sent:
        directory = catalog.local.directory(manifest.carrier, manifest.snapshot)
        return Sending(catalog, manifest, progress).folder(directory)

    def remove(self, catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
        catalog.local.remove(carrier, snapshot)

    def nameless(
        self, catalog: Catalog, carrier: Carrier, discovered: Mapping[str, Any]
    ) -> Sequence[SnapshotId]:
        return ()

    def looked_into(self, catalog: Catalog) -> LookedInto:
        return self.source

    def is_at_source(self, catalog: Catalog, carrier: Carrier, stored: Stored) -> bool:
        return False


def _free(folder: Path) -> int:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return disk_usage(there).free


def _last_base(catalog: Catalog, source_type: str) -> int | None:
    """Return the bytes of the newest base of any carrier; None if there is none, or S3 is away."""
    bases = {}
    with suppress(BackupError):
        for carrier in catalog.carriers(source_type):
            for stored in catalog.snapshots(carrier):
                if stored.id.kind is Kind.BASE:
                    bases[stored.id.time] = carrier, stored
        if bases:
            return catalog.manifest(*bases[max(bases)]).stored_size
    return None
