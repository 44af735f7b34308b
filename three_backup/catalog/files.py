"""The files of one stored snapshot, read from this host or from S3."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from three_backup.catalog.decryption import read_encrypted, refuse_plain
from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.encryption import Encrypted
from three_backup.model.snapshots import Manifest, StoredFile
from three_backup.s3.download import read_range
from three_backup.s3.store import Store


class Files:
    """The files of one snapshot in a folder, in S3 or both; a `sources.jobs.SnapshotFiles`."""

    def __init__(
        self, local: Manifest | None, directory: Path, remote: Manifest | None, s3: Store | None
    ) -> None:
        manifest = local or remote
        if manifest is None:
            raise ValueError("a stored snapshot lies somewhere")
        self._manifest = manifest
        self._local = local
        self._directory = directory
        self._remote = remote
        self._s3 = s3

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def read(self, name: str) -> bytes:
        """Return a whole file; if the local copy is damaged, read the one in S3."""
        stored = self._file(self._remote or self._manifest, name)
        damaged = None
        for copy in self._copies(name, 0, stored.size):
            if stored.sha256 is None or hashlib.sha256(copy).hexdigest() == stored.sha256:
                return copy
            damaged = name
        raise self._missing(damaged or name, "is damaged" if damaged else "is not stored")

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        for copy in self._copies(name, offset, length):
            return copy
        raise self._missing(name, "is stored only on the host that took it")

    def place(self, name: str) -> str:
        here = self._local is not None and (self._directory / name).is_file()
        return "local" if here else "s3"

    def _copies(self, name: str, offset: int, length: int) -> Iterator[bytes]:
        path = self._directory / name
        here = self._local is not None or self._file(self._manifest, name).local_only
        if here and path.is_file():
            with path.open("rb") as file:
                file.seek(offset)
                body = file.read(length)
            if len(body) == length:
                yield body
        if self._remote is not None and self._s3 is not None:
            stored = self._file(self._remote, name)
            if not stored.local_only:
                yield _read_s3(self._s3, self._remote, stored, offset, length)

    def _file(self, manifest: Manifest, name: str) -> StoredFile:
        stored = manifest.file(name)
        if stored is None:
            raise self._missing(name, "is not part of it")
        return stored

    def _missing(self, name: str, what: str) -> BackupError:
        return BackupError(
            "snapshot.file",
            f"{self._manifest.carrier}: snapshot {self._manifest.snapshot}: {name} {what}",
            "restore another snapshot with --snapshot; tb-list --snapshots names them",
        )


def _read_s3(s3: Store, manifest: Manifest, stored: StoredFile, offset: int, length: int) -> bytes:
    if manifest.encrypted is not None:
        return read_encrypted(s3, manifest, manifest.encrypted, stored, offset, length)
    refuse_plain(s3.storage, manifest)
    key = layout.data_key(manifest.carrier, manifest.snapshot, stored.name)
    volume_size = stored.volume_size or max(stored.size, 1)
    return read_range(s3, key, volume_size, stored.size, offset, length)


def in_s3(
    manifest: Manifest, volume_sizes: dict[str, int], encrypted: Encrypted | None
) -> Manifest:
    """Return the manifest as S3 keeps it, with the volume size in bytes of each uploaded file."""
    files = tuple(
        replace(stored, volume_size=volume_sizes.get(stored.name)) for stored in manifest.files
    )
    return replace(manifest, files=files, encrypted=encrypted)
