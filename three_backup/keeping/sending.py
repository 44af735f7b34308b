"""Uploads one snapshot: its data files or its stream, then the manifest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.files import in_s3
from three_backup.keeping import locked
from three_backup.model import layout
from three_backup.model.checked_file import DamagedError
from three_backup.model.encrypted_reader import EncryptedReader
from three_backup.model.encryption import Encrypted, Purpose
from three_backup.model.hashed_stream import Hashed, StreamIndex, index_of
from three_backup.model.snapshots import Manifest, StoredFile
from three_backup.s3.journal import forget
from three_backup.s3.reader import Known, Readable, nothing_known
from three_backup.s3.upload import SourceChangedError, Uploaded, abandon, upload
from three_backup.screen.progress import Transfer
from three_backup.sources.base import OpenStream


@dataclass(frozen=True, slots=True)
class Sent:
    """The upload of one snapshot."""

    size: int  # bytes in S3
    resumed: int  # how many of them were there before


def sent_files(manifest: Manifest) -> list[StoredFile]:
    return [file for file in manifest.files if not file.local_only]


@dataclass(frozen=True, slots=True)
class Sending:
    """Sends the bytes of one snapshot to S3; only the manifest makes them a snapshot."""

    catalog: Catalog
    manifest: Manifest
    progress: Transfer

    def folder(self, directory: Path) -> Sent:
        done = {}
        for file in sent_files(self.manifest):
            with (directory / file.name).open("rb", buffering=0) as source:
                done[file.name] = self._send(file.name, source, file.size)
        return self._listed(done)

    def copied(self, opened: Callable[[StoredFile], Readable]) -> Sent:
        """Send the files of a snapshot as they are read elsewhere.

        opened: opens a file at its beginning; its reader raises DamagedError.
        """
        done = {file.name: self._copied(file, opened) for file in sent_files(self.manifest)}
        return self._listed(done)

    def _listed(self, done: Mapping[str, Uploaded]) -> Sent:
        """Commit the manifest, whose files were sent. done: by file name."""
        sizes = {name: uploaded.volume_size for name, uploaded in done.items()}
        resumed = sum(uploaded.resumed for uploaded in done.values())
        return self._commit(in_s3(self.manifest, sizes, self._encrypted), resumed)

    def _copied(self, file: StoredFile, opened: Callable[[StoredFile], Readable]) -> Uploaded:
        """Send one file; start anew where an earlier run had read other bytes."""
        try:
            try:
                return self._send(file.name, opened(file), file.size)
            except SourceChangedError:
                abandon(self.catalog.bucket, self._journal(file.name))
                return self._send(file.name, opened(file), file.size)
        except DamagedError:
            abandon(self.catalog.bucket, self._journal(file.name))
            raise

    def streams(self, streams: Mapping[str, OpenStream]) -> Sent:
        """Send the streams of a point, each with its index."""
        files: list[StoredFile] = []
        resumed = 0
        for name, opened in streams.items():
            stream, index = self._stream(name, opened)
            body = index.to_json()
            beside = self._send(index_of(name), BytesIO(body), len(body))
            digest = sha256(body).hexdigest()
            files += [
                StoredFile(name, index.size, volume_size=stream.volume_size),
                StoredFile(index_of(name), len(body), digest, volume_size=beside.volume_size),
            ]
            resumed += stream.resumed + beside.resumed
        size = sum(file.size for file in files if file.name in streams)
        stored = replace(
            self.manifest, files=tuple(files), stored_size=size, encrypted=self._encrypted
        )
        return self._commit(stored, resumed)

    def _stream(self, name: str, opened: OpenStream) -> tuple[Uploaded, StreamIndex]:
        """Send one stream; start anew where the source now sends other bytes."""
        try:
            return self._hashed(name, opened)
        except SourceChangedError:
            abandon(self.catalog.bucket, self._journal(name))
            return self._hashed(name, opened)

    def _hashed(self, name: str, opened: OpenStream) -> tuple[Uploaded, StreamIndex]:
        """Send one stream, and return the index of what was sent with it."""
        with opened() as readable:
            hashed = Hashed(readable)
            return self._send(name, hashed, None, hashed.sha256), hashed.index()

    def _send(
        self, name: str, source: Readable, size: int | None, known: Known = nothing_known
    ) -> Uploaded:
        key = layout.data_key(self.manifest.carrier, self.manifest.snapshot, name)
        store, journal, progress = self.catalog.bucket, self._journal(name), self.progress
        keys = store.storage.encryption_key
        if keys is not None:
            how, place = keys.writes, store.signed_as(key)
            source = EncryptedReader(source, keys.cipher(how.key, Purpose.DATA, place))
            known = nothing_known  # it knows the hashes of what was not encrypted yet
            if size is not None:
                progress.expect(how.stored(size) - size)
                size = how.stored(size)
        return upload(
            store, key, source, size, journal, progress, resume=progress.resumed, known=known
        )

    def _commit(self, stored: Manifest, resumed: int) -> Sent:
        written = locked.commit(self.catalog, stored)
        for file in sent_files(stored):
            forget(self._journal(file.name))
        sizes = (stored.in_s3(file) for file in sent_files(stored))
        return Sent(sum(sizes) + written, resumed)

    @property
    def _encrypted(self) -> Encrypted | None:
        keys = self.catalog.storage.encryption_key
        return None if keys is None else keys.writes

    def _journal(self, name: str) -> Path:
        journals = self.catalog.local.journals(self.manifest.carrier, self.manifest.snapshot)
        return journals / f"{name}.journal"
