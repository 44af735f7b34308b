"""tb-upload - upload every local snapshot that S3 lacks

Usage:
  tb-upload [options]

Options:
      --adopt          take over a prefix that another host wrote
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Reads records. An upload that was cut short goes on where it stopped. Adds uploaded.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from three_backup import layout, pipe
from three_backup.catalog import Catalog, Stored, in_s3
from three_backup.config.settings import Settings
from three_backup.lock import carrier_lock
from three_backup.pipe import Invocation, Once
from three_backup.progress import bar
from three_backup.records import Record
from three_backup.s3.journal import forget
from three_backup.s3.store import Store
from three_backup.s3.upload import Uploaded, upload
from three_backup.snapshots import Manifest, StoredFile
from three_backup.sources import direct_source_of
from three_backup.sources.base import Advance
from three_backup.stages import Stage


@dataclass(frozen=True, slots=True)
class _Sent:
    """What one file or snapshot cost: bytes in S3, and how many of them were there before."""

    size: int
    resumed: int


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    outcomes: Once[dict[str, Any]] = Once()

    def act(record: Record) -> Record:
        settings = invocation.configuration.settings(record.object)
        if not _asked(record, settings):
            return record
        uploaded = outcomes.of(record.carrier, lambda: _act(invocation, record.carrier, settings))
        return record.reached(Stage.SYNCED_S3).with_fields(uploaded=uploaded)

    invocation.each(act)


def _asked(record: Record, settings: Settings) -> bool:
    if direct_source_of(record.object.type) is not None:
        return False  # its snapshots are in S3 from the beginning
    if settings.disable or not settings.max_stage.reaches(Stage.SYNCED_S3):
        return False
    return Stage.SYNCED_S3 in record.todo if record.planned else True


def _act(invocation: Invocation, carrier: str, settings: Settings) -> dict[str, Any]:
    """Upload the carrier's snapshots, oldest first, under its lock."""
    catalog = invocation.catalog(settings.storage)
    started = time.monotonic()
    sent: dict[str, _Sent] = {}
    with carrier_lock(settings.storage.local_dir, carrier):
        snapshots = catalog.snapshots(carrier)
        for stored in _lacking(invocation, carrier, snapshots):
            catalog.bucket.claim(invocation.host_id, adopt=bool(invocation.arguments["--adopt"]))
            sent[str(stored.id)] = _upload(catalog, catalog.local.manifest(carrier, stored.id))
    return {
        "snapshots": list(sent),
        "bytes": sum(one.size for one in sent.values()),
        "resumed": sum(one.resumed for one in sent.values()),
        "seconds": round(time.monotonic() - started, 3),
    }


def _lacking(invocation: Invocation, carrier: str, snapshots: Sequence[Stored]) -> list[Stored]:
    """What is to be uploaded, oldest first: nothing whose parent S3 will not have."""
    there = {one.id.time for one in snapshots if one.s3}
    lacking = []
    for stored in snapshots:
        if stored.s3 or not stored.local:
            continue
        if stored.id.parent is not None and stored.id.parent not in there:
            invocation.say(
                f"{carrier}: {stored.id} is not uploaded, its parent is not in S3; "
                "the next base makes up for it"
            )
            continue
        there.add(stored.id.time)
        lacking.append(stored)
    return lacking


def _upload(catalog: Catalog, manifest: Manifest) -> _Sent:
    """The data files, then the manifest: only with it the snapshot is there."""
    carrier, snapshot, store = manifest.carrier, manifest.snapshot, catalog.bucket
    directory = catalog.local.directory(carrier, snapshot)
    journals = catalog.local.journals(carrier, snapshot)
    files = [stored for stored in manifest.files if not stored.local_only]
    done: dict[str, Uploaded] = {}
    with bar(f"{carrier} {snapshot}", sum(stored.size for stored in files)) as advance:
        for stored in files:
            done[stored.name] = _upload_file(
                store, manifest, stored, directory / stored.name, journals, advance
            )
    body = in_s3(manifest, {name: one.volume_size for name, one in done.items()}).to_json()
    store.write(layout.manifest_key(carrier, snapshot), body)
    for stored in files:
        forget(journals / f"{stored.name}.journal")
    return _Sent(
        sum(one.size for one in done.values()) + len(body),
        sum(one.resumed for one in done.values()),
    )


def _upload_file(
    store: Store,
    manifest: Manifest,
    stored: StoredFile,
    path: Path,
    journals: Path,
    advance: Advance,
) -> Uploaded:
    key = layout.data_key(manifest.carrier, manifest.snapshot, stored.name)
    with path.open("rb", buffering=0) as source:
        return upload(
            store, key, source, stored.size, journals / f"{stored.name}.journal", advance
        )
