"""The copy of a snapshot in a further store, for what the first store lacks or has damaged."""

from dataclasses import replace
from threading import Lock
from typing import Protocol

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, Stored
from three_backup.model.storage import Storage
from three_backup.s3.failures import MissingError


class Copy(Protocol):
    """The files of one snapshot in a further store."""

    @property
    def manifest(self) -> Manifest: ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return exactly these bytes, unchecked. Raises BackupError."""


class Copies(Protocol):
    """The catalog of a further store."""

    storage: Storage

    def manifest(self, carrier: Carrier, stored: Stored) -> Manifest:
        """Return the manifest of a copy. Raises BackupError if it cannot be read."""

    def files(self, carrier: Carrier, stored: Stored) -> Copy:
        """Return the files of a copy. Raises BackupError if its manifest cannot be read."""


class Spare:
    """A copy that is looked at only once something is wanted of it. Threads may share it."""

    def __init__(self, catalog: Copies) -> None:
        self.store = catalog.storage.store
        self._catalog = catalog
        self._opening = Lock()
        self._files: Copy | BackupError | None = None

    def read(self, original: Manifest, name: str, offset: int, length: int) -> bytes:
        """Return exactly these bytes, unchecked, of the copy of one snapshot.

        Raises BackupError. original: the manifest of that snapshot, the same in each call.
        """
        with self._opening:
            if self._files is None:
                self._files = self._opened(original)
        if isinstance(self._files, BackupError):
            raise self._files
        return self._files.read_range(name, offset, length)

    def _opened(self, original: Manifest) -> Copy | BackupError:
        stored = Stored(original.snapshot, local=False, s3=True)
        try:
            files = self._catalog.files(original.carrier, stored)
        except MissingError:
            return BackupError("snapshot.no_copy", "it is not copied there")
        except BackupError as error:
            return error
        if bare(files.manifest) != bare(original):
            return BackupError("snapshot.other_copy", "what lies there is another snapshot")
        return files


def bare(manifest: Manifest) -> Manifest:
    """Return the manifest without what differs from store to store."""
    files = tuple(replace(stored, volume_size=None) for stored in manifest.files)
    return replace(manifest, files=files, encrypted=None)
