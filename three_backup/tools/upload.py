"""tb-upload - upload every local snapshot that S3 lacks

Usage:
  tb-upload [options]

Options:
      --adopt          take over a prefix that another host wrote
      --json           records on a terminal, too, in place of a table
      --progress WHEN  draw a bar: auto, always or never [default: auto]
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Reads records. An upload that was cut short goes on where it stopped. Adds uploaded.
"""

import time
from collections.abc import Sequence
from typing import Any

from three_backup import pipe
from three_backup.catalog.catalog import Catalog
from three_backup.config.settings import Settings
from three_backup.deciding.holding import Holding
from three_backup.errors import BackupError
from three_backup.host.locks import carrier_lock
from three_backup.keeping import keeping_of
from three_backup.keeping.sending import Sent
from three_backup.model.records import Record
from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.model.stages import Stage
from three_backup.model.uploading import unsent
from three_backup.pipe import Invocation, Once
from three_backup.watching.forms import UPLOADED
from three_backup.watching.sheet import Sheet


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    outcomes: Once[dict[str, Any]] = Once()
    invocation.present(Sheet(UPLOADED))

    def act(record: Record) -> Record:
        settings = invocation.configuration.settings(record.object)
        if not _asked(record, settings):
            return record
        uploaded = outcomes.of(record.carrier, lambda: _act(invocation, record, settings))
        return record.reached(Stage.SYNCED_S3).with_fields(uploaded=uploaded)

    invocation.each(act)


def _asked(record: Record, settings: Settings) -> bool:
    if settings.disable or not settings.max_stage.reaches(Stage.SYNCED_S3):
        return False
    return keeping_of(record.object.type).sends and (
        not record.planned or Stage.SYNCED_S3 in record.todo
    )


def _act(invocation: Invocation, record: Record, settings: Settings) -> dict[str, Any]:
    """Upload the carrier's snapshots, oldest first, under its lock."""
    carrier, catalog = record.carrier, invocation.catalog(settings.storage)
    keeping, started = keeping_of(record.object.type), time.monotonic()
    sent: dict[str, Sent] = {}
    with carrier_lock(settings.storage.local_dir, carrier):
        snapshots: Sequence[Stored] = catalog.filled(carrier)
        if any(snapshot.local and not snapshot.s3 for snapshot in snapshots):
            snapshots = keeping.known(catalog, carrier, snapshots, invocation.say)
        holding = _holding(invocation, record, catalog, snapshots)
        for snapshot in _lacking(invocation, holding):
            catalog.claim()
            manifest = catalog.local.manifest(carrier, snapshot)
            with invocation.bar(carrier, keeping.size_to_send(manifest)) as progress:
                sent[str(snapshot)] = keeping.send(catalog, manifest, progress)
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
    now = invocation.clock()
    try:
        return Holding.of(carrier, [record.object], configuration, catalog, snapshots, now)
    except BackupError:
        return Holding(carrier, catalog, snapshots, (), now)


def _lacking(invocation: Invocation, holding: Holding) -> list[SnapshotId]:
    """Return the snapshots to upload, oldest first, and say why others cannot be."""
    if all(stored.s3 for stored in holding.snapshots):
        return []
    try:
        surplus = holding.surplus()
    except BackupError:  # a damaged old manifest must keep no new snapshot from S3
        surplus = set()
    found = unsent(holding.snapshots, holding.kept, surplus)
    for snapshot, obstacle in found.items():
        if obstacle is not None:
            invocation.say(
                f"{holding.carrier}: {snapshot} is not uploaded, {obstacle}; "
                "the next base makes up for it"
            )
    return [snapshot for snapshot, obstacle in found.items() if obstacle is None]
