"""tb-upload - upload every local snapshot that S3 lacks

Usage:
  tb-upload [options]

Options:
      --adopt          take over a prefix that another host wrote
      --progress WHEN  draw a bar: auto, always or never [default: auto]
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Reads records. An upload that was cut short goes on where it stopped. Adds uploaded.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.catalog import Catalog, Stored, in_s3
from three_backup.config.settings import Settings
from three_backup.deciding.holding import Holding
from three_backup.errors import BackupError
from three_backup.host.locks import carrier_lock
from three_backup.keeping import points
from three_backup.model import layout
from three_backup.model.hashed_stream import INDEX, STREAM, Hashed
from three_backup.model.records import Record
from three_backup.model.snapshots import Manifest, SnapshotId, StoredFile
from three_backup.model.stages import Stage
from three_backup.model.uploading import unsent
from three_backup.pipe import Invocation, Once
from three_backup.s3.journal import forget
from three_backup.s3.reader import Readable
from three_backup.s3.store import Store
from three_backup.s3.upload import SourceChangedError, Uploaded, abandon, upload
from three_backup.screen.progress import Transfer
from three_backup.sources import direct_source_of, point_source_of
from three_backup.sources.base import PointSource


@dataclass(frozen=True, slots=True)
class Args:
    adopt: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(adopt=bool(arguments["--adopt"]))


@dataclass(frozen=True, slots=True)
class _Sent:
    """The upload of one snapshot."""

    size: int  # bytes in S3
    resumed: int  # how many of them were there before


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    outcomes: Once[dict[str, Any]] = Once()

    def act(record: Record) -> Record:
        settings = invocation.configuration.settings(record.object)
        if not _asked(record, settings):
            return record
        uploaded = outcomes.of(record.carrier, lambda: _act(invocation, args, record, settings))
        return record.reached(Stage.SYNCED_S3).with_fields(uploaded=uploaded)

    invocation.each(act)


def _asked(record: Record, settings: Settings) -> bool:
    if direct_source_of(record.object.type) is not None:
        return False  # its snapshots are in S3 from the beginning
    if settings.disable or not settings.max_stage.reaches(Stage.SYNCED_S3):
        return False
    return Stage.SYNCED_S3 in record.todo if record.planned else True


def _act(invocation: Invocation, args: Args, record: Record, settings: Settings) -> dict[str, Any]:
    """Upload the carrier's snapshots, oldest first, under its lock."""
    carrier, catalog = record.carrier, invocation.catalog(settings.storage)
    source = point_source_of(carrier.partition("/")[0])
    started = time.monotonic()
    sent: dict[str, _Sent] = {}
    with carrier_lock(settings.storage.local_dir, carrier):
        snapshots = catalog.snapshots(carrier)
        if source is not None and any(
            snapshot.local and not snapshot.s3 for snapshot in snapshots
        ):
            snapshots = points.reconcile(source, catalog, carrier, invocation.say)
        holding = _holding(invocation, record, catalog, snapshots)
        for snapshot in _lacking(invocation, holding):
            catalog.bucket.claim(invocation.host_id, adopt=args.adopt)
            manifest = catalog.local.manifest(carrier, snapshot)
            sent[str(snapshot)] = _upload(invocation, catalog, manifest, source)
    return {
        "snapshots": list(sent),
        "bytes": sum(cost.size for cost in sent.values()),
        "resumed": sum(cost.resumed for cost in sent.values()),
        "seconds": round(time.monotonic() - started, 3),
    }


def _holding(
    invocation: Invocation, record: Record, catalog: Catalog, snapshots: Sequence[Stored]
) -> Holding:
    """Return the carrier as it stands; without settings where its newest manifest is damaged."""
    carrier, configuration = record.carrier, invocation.configuration
    try:
        return Holding.of(carrier, [record.object], configuration, catalog, snapshots)
    except BackupError:
        return Holding(carrier, catalog, snapshots, ())


def _lacking(invocation: Invocation, holding: Holding) -> list[SnapshotId]:
    """Return the snapshots to upload, oldest first, and say why others cannot be."""
    if all(stored.s3 for stored in holding.snapshots):
        return []
    try:
        surplus = holding.surplus()
    except BackupError:  # a damaged old manifest must keep no new snapshot from S3
        surplus = set()
    found = unsent(holding.snapshots, points=holding.has_points, surplus=surplus)
    for snapshot, obstacle in found.items():
        if obstacle is not None:
            invocation.say(
                f"{holding.carrier}: {snapshot} is not uploaded, {obstacle}; "
                "the next base makes up for it"
            )
    return [snapshot for snapshot, obstacle in found.items() if obstacle is None]


def _upload(
    invocation: Invocation, catalog: Catalog, manifest: Manifest, source: PointSource | None
) -> _Sent:
    """Upload the data files, then the manifest: only the manifest makes them a snapshot."""
    carrier, snapshot, store = manifest.carrier, manifest.snapshot, catalog.bucket
    journals = catalog.local.journals(carrier, snapshot)
    total = manifest.stored_size if source else sum(sent.size for sent in _sent_files(manifest))
    with invocation.bar(carrier, total) as progress:
        sending = _Sending(store, manifest, journals, progress)
        if source is None:
            stored, resumed = sending.files(catalog.local.directory(carrier, snapshot))
        else:
            stored, resumed = sending.stream(source)
    body = stored.to_json()
    store.write(layout.manifest_key(carrier, snapshot), body)
    for file in _sent_files(stored):
        forget(sending.journal(file.name))
    return _Sent(sum(file.size for file in _sent_files(stored)) + len(body), resumed)


def _sent_files(manifest: Manifest) -> list[StoredFile]:
    return [file for file in manifest.files if not file.local_only]


@dataclass(frozen=True, slots=True)
class _Sending:
    """Sends the bytes of one snapshot to S3.

    Returns its manifest as S3 keeps it, and how many of the bytes were there before.
    """

    store: Store
    manifest: Manifest
    journals: Path
    progress: Transfer

    def files(self, directory: Path) -> tuple[Manifest, int]:
        done = {}
        for file in _sent_files(self.manifest):
            with (directory / file.name).open("rb", buffering=0) as source:
                done[file.name] = self._send(file.name, source, file.size)
        stored = in_s3(
            self.manifest, {name: uploaded.volume_size for name, uploaded in done.items()}
        )
        return stored, sum(uploaded.resumed for uploaded in done.values())

    def stream(self, source: PointSource) -> tuple[Manifest, int]:
        """Send the stream of a point; start anew where the source now sends other bytes."""
        try:
            return self._stream(source)
        except SourceChangedError:
            abandon(self.store, self.journal(STREAM))
            return self._stream(source)

    def journal(self, name: str) -> Path:
        return self.journals / f"{name}.journal"

    def _stream(self, source: PointSource) -> tuple[Manifest, int]:
        with source.stream(self.manifest) as readable:
            hashed = Hashed(readable)
            stream = self._send(STREAM, hashed, None)
        body = hashed.index().to_json()
        index = self._send(INDEX, BytesIO(body), len(body))
        files = (
            StoredFile(STREAM, stream.size, volume_size=stream.volume_size),
            StoredFile(INDEX, index.size, sha256(body).hexdigest(), volume_size=index.volume_size),
        )
        stored = replace(self.manifest, files=files, stored_size=stream.size)
        return stored, stream.resumed + index.resumed

    def _send(self, name: str, source: Readable, size: int | None) -> Uploaded:
        key = layout.data_key(self.manifest.carrier, self.manifest.snapshot, name)
        journal, progress = self.journal(name), self.progress
        return upload(self.store, key, source, size, journal, progress, resume=progress.resumed)
