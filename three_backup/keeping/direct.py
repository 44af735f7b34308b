"""Keeps snapshots in S3 alone, where the source's server writes them."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NoReturn

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.keeping import locked, removal
from three_backup.keeping.copying import Copying, copy_keys
from three_backup.keeping.sending import Sent
from three_backup.model.findings import Finding, bad, note
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored
from three_backup.model.storage import check_direct
from three_backup.s3.probe import FOLDER
from three_backup.screen.progress import Transfer
from three_backup.sources.base import DirectSource, Restorer
from three_backup.sources.jobs import CheckJob, ClearJob, DirectJob, Say, SnapshotJob
from three_backup.sources.looking import LookedInto


@dataclass(frozen=True, slots=True)
class DirectKeeping:
    source: DirectSource
    sends: ClassVar = False
    overlaps: ClassVar = True

    @property
    def logged(self) -> None:
        return None

    def without_s3(self, catalog: Catalog, error: BackupError) -> NoReturn:
        raise error

    def check(self, job: CheckJob, catalog: Catalog) -> Iterator[Finding]:
        source, storage = self.source, catalog.storage
        try:
            check_direct(storage, source.type)
        except BackupError as error:
            yield bad("encryption", error)
            return
        yield from source.check(job, catalog.s3, f"{FOLDER}{source.type}/")
        if storage.encryption_key is not None:
            yield note(
                "encryption",
                f"{source.type} writes to the bucket itself: its data stay unencrypted",
                "encrypt them at the server or in the bucket",
            )

    def known(
        self, catalog: Catalog, carrier: Carrier, listed: Sequence[Stored], say: Say
    ) -> Sequence[Stored]:
        return listed

    def take(self, catalog: Catalog, job: SnapshotJob) -> Manifest:
        check_direct(catalog.storage, job.carrier)
        catalog.claim()
        journals = catalog.local.journals(job.carrier)
        journals.mkdir(parents=True, exist_ok=True)
        direct = DirectJob(**vars(job), store=catalog.bucket, journals=journals)
        manifest = self.source.take(direct)
        _commit(catalog, manifest)
        return manifest

    def size_to_send(self, manifest: Manifest) -> int:
        return 0

    def send(self, catalog: Catalog, manifest: Manifest, progress: Transfer) -> NoReturn:
        raise ValueError("a snapshot of a direct source is in S3 from the beginning")

    def copy(self, job: Copying) -> Sent:
        check_direct(job.target.storage, f"{job.carrier} in {job.target.storage.store}")
        return copy_keys(self.source, job)

    def remove(self, catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
        """Remove nothing: no copy lies outside of S3."""

    def remove_from_s3(self, catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
        removal.remove_folder(catalog, carrier, snapshot)

    def clear(self, catalog: Catalog, carrier: Carrier, now: datetime, say: Say) -> None:
        removal.clear_unfinished(catalog, carrier, now, say)
        journals = catalog.local.journals(carrier)
        if journals.is_dir():
            job = ClearJob(carrier, journals, catalog.bucket, now - removal.PATIENCE)
            self.source.clear(job)

    def nameless(
        self, catalog: Catalog, carrier: Carrier, discovered: Mapping[str, Any]
    ) -> Sequence[SnapshotId]:
        return ()

    def looked_into(self, catalog: Catalog) -> LookedInto:
        _refuse_past(catalog)
        return self.source.looking(catalog.bucket)

    def is_at_source(self, catalog: Catalog, carrier: Carrier, stored: Stored) -> bool:
        return False

    def restorer(self, catalog: Catalog) -> Restorer:
        _refuse_past(catalog)
        return self.source.reading(catalog.bucket)


def _commit(catalog: Catalog, manifest: Manifest) -> None:
    """Write the manifest, the last of all keys, then remove the journals of the snapshot."""
    carrier, snapshot = manifest.carrier, manifest.snapshot
    locked.commit(catalog, manifest)
    shutil.rmtree(catalog.local.journals(carrier, snapshot))
    with suppress(OSError):  # other snapshots have journals in it
        catalog.local.journals(carrier).rmdir()


def _refuse_past(catalog: Catalog) -> None:
    """Raise BackupError where the past of a bucket is read: the server knows only its present."""
    if catalog.storage.as_of is not None:
        raise BackupError(
            "direct.past",
            "the server reads the bucket by itself, as it is now",
            "copy what there was into a further store, and restore it from there: "
            "tb-copy --as-of TIME --to NAME, tb-restore --store NAME",
        )
