"""Where a copy is of what cannot be read in the first store."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from three_backup.catalog.spare import Copies
from three_backup.errors import BackupError, ManifestError
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored
from three_backup.s3.failures import MissingError


def in_its_place(manifest: Manifest, key: str, carrier: Carrier, snapshot: SnapshotId) -> Manifest:
    """Return the manifest. Raises ManifestError if it is that of another snapshot."""
    if manifest.carrier != carrier or manifest.snapshot != snapshot:
        raise ManifestError(
            "manifest.misplaced",
            f"{key}: this is the manifest of {manifest.carrier} {manifest.snapshot}",
            "restore another snapshot, and find out who writes to the bucket",
        )
    return manifest


@contextmanager
def remedied(beside: Sequence[Copies], carrier: Carrier, snapshot: SnapshotId) -> Iterator[None]:
    """Name the store with a copy in the error that a snapshot's manifest cannot be read."""
    try:
        yield
    except (ManifestError, MissingError) as error:
        store = store_with(beside, carrier, snapshot)
        if store is None:
            raise
        raise type(error)(error.code, error.message, has_a_copy(store)) from error


def store_with(beside: Sequence[Copies], carrier: Carrier, snapshot: SnapshotId) -> str | None:
    """Return the name of the first store with a copy of the snapshot whose manifest is whole."""
    for catalog in beside:
        with suppress(BackupError):
            catalog.manifest(carrier, Stored(snapshot, local=False, s3=True))
            return catalog.storage.store
    return None


def has_a_copy(store: str) -> str:
    """Return the remedy: read what lies in a further store."""
    return f"store {store} has a whole copy: --store {store} reads that"
