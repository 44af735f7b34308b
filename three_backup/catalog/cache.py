"""Cache on this host of the manifests read from S3; a manifest never changes."""

import hashlib
import os
from pathlib import Path

from three_backup.catalog.manifest_form import ManifestForm
from three_backup.errors import BackupError
from three_backup.host.durable import write_durably
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.model.veil import BEGINNING


class ManifestCache:
    """The cached manifests of one storage; S3 replaces a missing or damaged one."""

    def __init__(self, storage: Storage) -> None:
        self._local_dir = storage.local_dir
        self._folder = folder_of(storage)
        self._form = ManifestForm(storage)  # the bodies are those of S3
        self._keeps = storage.as_of is None

    def read(self, carrier: Carrier, snapshot: SnapshotId) -> Manifest | None:
        """Return the manifest, or None if it has to be read from S3."""
        path = self._path(carrier, snapshot)
        try:
            return self._form.manifest(path.read_bytes(), layout.manifest_key(carrier, snapshot))
        except (FileNotFoundError, PermissionError, BackupError):
            return None

    def holds(self, carrier: Carrier, snapshot: SnapshotId) -> bool:
        return os.access(self._path(carrier, snapshot), os.R_OK)

    def beginning(self, carrier: Carrier, snapshot: SnapshotId) -> bytes | None:
        """Return the first bytes of a manifest; None if S3 has to be asked for them."""
        try:
            with self._path(carrier, snapshot).open("rb") as file:
                return file.read(BEGINNING)
        except (FileNotFoundError, PermissionError):
            return None

    def keep(self, carrier: Carrier, snapshot: SnapshotId, body: bytes) -> None:
        # A user who may only read goes without the cache, and so does a look at the past.
        if not (self._keeps and os.access(self._local_dir, os.W_OK)):
            return
        path = self._path(carrier, snapshot)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(path, body)

    def forget(self, carrier: Carrier, snapshot: SnapshotId) -> None:
        self._path(carrier, snapshot).unlink(missing_ok=True)

    def _path(self, carrier: Carrier, snapshot: SnapshotId) -> Path:
        return self._folder / layout.manifest_key(carrier, snapshot)


def folder_of(storage: Storage) -> Path:
    """Return the folder of all that this host remembers of what lies in the storage."""
    place = f"{storage.endpoint}/{storage.bucket}/{storage.prefix}"
    if storage.as_of is not None:
        place += f"?{storage.as_of}"  # nothing is ever kept there
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    return storage.local_dir / "cache" / name
