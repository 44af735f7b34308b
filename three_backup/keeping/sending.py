"""Uploads one snapshot: its data files or its stream, then the manifest."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BufferedIOBase, BytesIO
from pathlib import Path

from three_backup.catalog.catalog import Catalog, in_s3
from three_backup.model import layout
from three_backup.model.hashed_stream import INDEX, STREAM, Hashed
from three_backup.model.snapshots import Manifest, StoredFile
from three_backup.s3.journal import forget
from three_backup.s3.reader import Readable
from three_backup.s3.upload import SourceChangedError, Uploaded, abandon, upload
from three_backup.screen.progress import Transfer

OpenStream = Callable[[Manifest], AbstractContextManager[BufferedIOBase]]


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
        stored = in_s3(
            self.manifest, {name: uploaded.volume_size for name, uploaded in done.items()}
        )
        return self._commit(stored, sum(uploaded.resumed for uploaded in done.values()))

    def stream(self, opened: OpenStream) -> Sent:
        """Send the stream of a point; start anew where the source now sends other bytes."""
        try:
            return self._stream(opened)
        except SourceChangedError:
            abandon(self.catalog.bucket, self._journal(STREAM))
            return self._stream(opened)

    def _stream(self, opened: OpenStream) -> Sent:
        with opened(self.manifest) as readable:
            hashed = Hashed(readable)
            stream = self._send(STREAM, hashed, None)
        body = hashed.index().to_json()
        index = self._send(INDEX, BytesIO(body), len(body))
        files = (
            StoredFile(STREAM, stream.size, volume_size=stream.volume_size),
            StoredFile(INDEX, index.size, sha256(body).hexdigest(), volume_size=index.volume_size),
        )
        stored = replace(self.manifest, files=files, stored_size=stream.size)
        return self._commit(stored, stream.resumed + index.resumed)

    def _send(self, name: str, source: Readable, size: int | None) -> Uploaded:
        key = layout.data_key(self.manifest.carrier, self.manifest.snapshot, name)
        store, journal, progress = self.catalog.bucket, self._journal(name), self.progress
        return upload(store, key, source, size, journal, progress, resume=progress.resumed)

    def _commit(self, stored: Manifest, resumed: int) -> Sent:
        body = stored.to_json()
        self.catalog.bucket.write(layout.manifest_key(stored.carrier, stored.snapshot), body)
        for file in sent_files(stored):
            forget(self._journal(file.name))
        return Sent(sum(file.size for file in sent_files(stored)) + len(body), resumed)

    def _journal(self, name: str) -> Path:
        journals = self.catalog.local.journals(self.manifest.carrier, self.manifest.snapshot)
        return journals / f"{name}.journal"
