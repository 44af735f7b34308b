"""Removes snapshots from S3, and what unfinished uploads left there.

The manifest goes first, so that a half-removed snapshot no longer counts as one. An intent on disk
makes a later run remove the rest, whenever this host is killed. The caller holds the carrier's
lock.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.host.durable import write_durably
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.s3.journal import Begun, begun, forget
from three_backup.s3.store import Store
from three_backup.s3.upload import abandon
from three_backup.s3.volumes import is_volume_of
from three_backup.sources.jobs import Say

PATIENCE = timedelta(days=1)
"""How long an upload without a snapshot on this host may lie before it is cleared."""

_REMOVAL = "removal.json"


def remove_files(catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
    """Remove a snapshot whose manifest lists its files, and no other keys."""
    manifest = catalog.manifest(carrier, Stored(snapshot, local=False, s3=True))
    _remove(catalog, carrier, snapshot, [file.name for file in manifest.files])


def remove_folder(catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
    """Remove a snapshot of whose files only the server that wrote them knows the names."""
    _remove(catalog, carrier, snapshot, None)


def _remove(
    catalog: Catalog, carrier: Carrier, snapshot: SnapshotId, files: list[str] | None
) -> None:
    intent = catalog.local.journals(carrier, snapshot) / _REMOVAL
    intent.parent.mkdir(parents=True, exist_ok=True)
    write_durably(intent, json.dumps({"v": 1, "files": files}).encode())
    catalog.bucket.delete([layout.manifest_key(carrier, snapshot)])
    _finish(catalog, carrier, snapshot, intent)


def clear_unfinished(catalog: Catalog, carrier: Carrier, now: datetime, say: Say) -> None:
    """Continue removals that were cut short, and clear uploads that nobody will finish."""
    folder = catalog.local.journals(carrier)
    if not folder.is_dir():
        return
    snapshots = {known.id: known for known in catalog.snapshots(carrier)}
    for intent in folder.glob(f"*/{_REMOVAL}"):
        snapshot = SnapshotId.parse(intent.parent.name)
        if snapshot is None or (snapshot in snapshots and snapshots[snapshot].s3):
            intent.unlink()  # its manifest is still there: retention decides anew
        else:
            _finish(catalog, carrier, snapshot, intent)
    for upload in begun(folder):
        snapshot = SnapshotId.parse(upload.journal.parent.name)
        stored = snapshots.get(snapshot) if snapshot else None
        if stored is not None and not stored.s3:
            continue  # still to be uploaded, whichever bucket and prefix it was begun in
        if is_ours(catalog, upload):
            _clear_upload(catalog, stored, upload, now)
        elif upload.newest_write < now - PATIENCE:
            _clear_elsewhere(catalog, carrier, upload, say)
    _remove_empty(folder)


def is_ours(catalog: Catalog, upload: Begun) -> bool:
    """Return whether the upload goes to the catalog's bucket and prefix."""
    storage = catalog.storage
    return (upload.plan.bucket, upload.plan.prefix) == (storage.bucket, storage.prefix)


def _clear_upload(catalog: Catalog, stored: Stored | None, upload: Begun, now: datetime) -> None:
    if stored is not None:
        forget(upload.journal)
    elif upload.newest_write < now - PATIENCE:
        abandon(catalog.bucket, upload.journal)


def _clear_elsewhere(catalog: Catalog, carrier: Carrier, upload: Begun, say: Say) -> None:
    """Clear an upload to a bucket and prefix that an earlier configuration named."""
    plan = upload.plan
    elsewhere = Store(replace(catalog.storage, bucket=plan.bucket, prefix=plan.prefix))
    manifest = f"{layout.manifest_folder(carrier)}/{upload.journal.parent.name}.json"
    try:
        if elsewhere.size(manifest) is None:
            abandon(elsewhere, upload.journal)
        else:
            forget(upload.journal)
    except BackupError as error:
        say(
            f"{carrier}: an upload to {elsewhere.place(plan.key)}, begun under an earlier "
            f"configuration, cannot be cleared ({error.message}); abort it by hand and remove "
            f"{upload.journal}"
        )


def is_removal(journals: Path) -> bool:
    """Return whether the journals of a snapshot are those of its removal."""
    return (journals / _REMOVAL).exists()


def unclaimed(catalog: Catalog, carrier: Carrier) -> list[str]:
    """Return the data keys that belong to no snapshot and to no upload or removal of this host."""
    journals = catalog.local.journals(carrier)
    claimed = {known.id for known in catalog.snapshots(carrier)}
    found = []
    for name in catalog.bucket.folders(f"{layout.DATA}/{layout.path(carrier)}/"):
        snapshot = SnapshotId.parse(name)
        if snapshot is None or snapshot in claimed or (journals / name).is_dir():
            continue
        folder = layout.data_folder(carrier, snapshot)
        found += [stored.key for stored in catalog.bucket.all_keys(f"{folder}/")]
    return found


def _finish(catalog: Catalog, carrier: Carrier, snapshot: SnapshotId, intent: Path) -> None:
    """Delete the volumes of the files in the intent; the whole folder if it names none."""
    files = json.loads(intent.read_bytes())["files"]
    folder = f"{layout.data_folder(carrier, snapshot)}/"
    if files is None:
        catalog.bucket.delete_folder(folder)
    else:
        owned = [layout.data_key(carrier, snapshot, name) for name in files]
        keys = [stored.key for stored in catalog.bucket.keys(folder)]
        catalog.bucket.delete(
            key for key in keys if any(is_volume_of(file, key) for file in owned)
        )
    catalog.forget_cached(carrier, snapshot)
    intent.unlink()
    _remove_empty(intent.parent)


def _remove_empty(folder: Path) -> None:
    for inner in (*folder.iterdir(), folder):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
