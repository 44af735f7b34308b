"""The files of one stored snapshot, read from this host, from S3 or from a further store."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from three_backup.catalog.decryption import read_encrypted, refuse_plain
from three_backup.catalog.one_range import ANOTHER, Copy, OneRange
from three_backup.catalog.spare import Spare
from three_backup.errors import BackupError, UnreachableError
from three_backup.model import layout
from three_backup.model.encryption import Encrypted
from three_backup.model.hashed_stream import HashedRange
from three_backup.model.snapshots import Manifest, StoredFile
from three_backup.s3.download import read_range
from three_backup.s3.mended import FIRST, Mended
from three_backup.s3.store import Store


class Files:
    """The files of one snapshot in a folder, in S3 or both; a `sources.jobs.SnapshotFiles`."""

    def __init__(
        self,
        local: Manifest | None,
        directory: Path,
        remote: Manifest | None,
        s3: Store | None,
        spares: Sequence[Spare] = (),
        mended: Mended | None = None,
    ) -> None:
        """spares: give what no other copy has whole. mended: the account of what was mended."""
        manifest = local or remote
        if manifest is None:
            raise ValueError("a stored snapshot lies somewhere")
        self._manifest = manifest
        self._local = local
        self._directory = directory
        self._remote = remote
        self._s3 = s3
        self._spares = spares
        self._mended = mended or Mended()
        self._away: set[str | None] = set()  # stores that did not answer: they are asked last

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def read(self, name: str) -> bytes:
        """Return a whole file, checked where the manifest has its hash."""
        stored = self._file(self._remote or self._manifest, name)
        whole = () if stored.sha256 is None else (HashedRange(0, stored.size, stored.sha256),)
        return self.read_range(name, 0, stored.size, whole)

    def read_range(
        self, name: str, offset: int, length: int, pieces: Sequence[HashedRange] = ()
    ) -> bytes:
        """Return exactly length bytes, in which each piece has its hash.

        What one copy lacks or has damaged comes from the next: from this host, from S3, then from
        further stores. Raises BackupError on the first of them if none has it whole.
        """
        copies = sorted(self._copies(name), key=lambda copy: copy.store in self._away)
        if not copies:
            raise self._missing(name, "is stored only on the host that took it")
        wanted = OneRange(self._called(name), offset, length, pieces, self._mended)
        for copy in copies:
            body = wanted.read(copy)
            if body is not None:
                return bytes(body)
        failure = wanted.failure()
        if len(pieces) < 2 or len(copies) < 2 or isinstance(failure, UnreachableError):
            raise failure
        return self._one_by_one(name, offset, length, pieces)

    def _one_by_one(
        self, name: str, offset: int, length: int, pieces: Sequence[HashedRange]
    ) -> bytes:
        """Return the range where no copy could be read as a whole: each lacks other pieces."""
        whole = bytearray(length)
        for piece in pieces:
            start = piece.offset - offset
            body = self.read_range(name, piece.offset, piece.size, (piece,))
            whole[start : start + piece.size] = body
        return bytes(whole)

    def place(self, name: str) -> str:
        here = self._local is not None and (self._directory / name).is_file()
        return "local" if here else "s3"

    def _copies(self, name: str) -> Iterator[Copy]:
        path, stored = self._directory / name, self._file(self._manifest, name)
        if (self._local is not None or stored.local_only) and path.is_file():
            yield Copy(None, partial(self._read_here, path))
        if stored.local_only:
            return
        if self._remote is not None and self._s3 is not None:
            there = self._file(self._remote, name)
            store = self._s3.storage.store or FIRST
            yield Copy(store, partial(self._read_s3, self._s3, self._remote, there))
        for spare in self._spares:
            yield Copy(spare.store, partial(spare.read, self._manifest, name))

    def _read_here(self, path: Path, offset: int, length: int) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                body = file.read(length)
        except OSError as error:
            raise self._missing(path.name, f"cannot be read here: {error.strerror}") from error
        if len(body) < length:
            raise self._missing(path.name, "is too short on this host")
        return body

    def _read_s3(
        self, s3: Store, manifest: Manifest, stored: StoredFile, offset: int, length: int
    ) -> bytes:
        try:
            return _read_s3(s3, manifest, stored, offset, length)
        except UnreachableError:
            self._away.add(s3.storage.store or FIRST)
            raise

    def _file(self, manifest: Manifest, name: str) -> StoredFile:
        stored = manifest.file(name)
        if stored is None:
            raise self._missing(name, "is not part of it")
        return stored

    def _missing(self, name: str, what: str) -> BackupError:
        return BackupError("snapshot.file", f"{self._called(name)} {what}", ANOTHER)

    def _called(self, name: str) -> str:
        return f"{self._manifest.carrier}: snapshot {self._manifest.snapshot}: {name}"


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
