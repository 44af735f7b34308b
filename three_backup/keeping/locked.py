"""Locks in S3 what a snapshot needs: its own keys, and those of the snapshots that it builds on.

Data is locked before its manifest, so that the lock of a manifest tells that of the data, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, StoredFile, chain
from three_backup.s3 import locking
from three_backup.s3.lock import Lock, from_now, lasting, liftable, unlocked
from three_backup.s3.store import Store
from three_backup.s3.volumes import volume_key

_MARGIN = timedelta(hours=1)
"""By how much earlier the lock of a key may end than asked, because it was written earlier."""

_STEPS = 4
"""The locks of parents are made longer by this part of lock_days more than needed, so that not
each incremental has to do it."""


def commit(catalog: Catalog, manifest: Manifest) -> int:
    """Write the manifest, by which its snapshot is complete; return its bytes.

    With lock_days, its data and what it builds on is locked before, and its own lock looked at.
    Raises BackupError, and leaves no snapshot, where the store does not lock.
    """
    if not catalog.storage.lock_days:
        return catalog.write_manifest(manifest)
    carrier, snapshot, store = manifest.carrier, manifest.snapshot, catalog.bucket
    lock, key = from_now(catalog.storage), layout.manifest_key(carrier, snapshot)
    for keys in _groups(store, manifest):
        _require(store, keys, lock)
    parents = (chain((*_there(catalog, carrier), snapshot), snapshot) or [])[:-1]
    step = lasting(catalog.storage) / _STEPS
    lock_snapshots(catalog, carrier, parents, lock.until, lock.until + step)
    written = catalog.write_manifest(manifest)
    try:
        found = _require(store, [key], lock)
    except BackupError:
        store.delete([key])  # or the next run would take it for one that is locked
        raise
    catalog.locks.note(carrier, {snapshot: found}, datetime.now(UTC))
    return written


def lock_held(
    catalog: Catalog, carrier: Carrier, snapshot: SnapshotId, until: datetime | None
) -> None:
    """Lock a snapshot in S3 and what it builds on until its hold ends, if lock_days locks at all.

    until: None for a hold that never ends, which locks nothing: no lock does that.
    """
    links = chain(_there(catalog, carrier), snapshot)
    if catalog.storage.lock_days and until is not None and links is not None:
        lock_snapshots(catalog, carrier, links, until, until)


def lock_snapshots(
    catalog: Catalog,
    carrier: Carrier,
    snapshots: Sequence[SnapshotId],
    needed: datetime,
    until: datetime,
) -> None:
    """Lock snapshots in S3 until then, those that are not locked as long as needed."""
    now, store = datetime.now(UTC), catalog.bucket
    locks: Mapping[SnapshotId, Lock] = catalog.locks.look(carrier, snapshots, now)
    for snapshot in snapshots:
        found = locks.get(snapshot)
        if found is not None and found.until >= needed:
            continue
        given = found or from_now(catalog.storage)  # the mode of a lock stays
        lock = replace(given, until=until.replace(microsecond=0))
        locking.extend(store, _data(store, carrier, snapshot), lock)
        locking.extend(store, [layout.manifest_key(carrier, snapshot)], lock)
        catalog.locks.note(carrier, {snapshot: lock}, now)


def _there(catalog: Catalog, carrier: Carrier) -> list[SnapshotId]:
    return [stored.id for stored in catalog.snapshots(carrier) if stored.s3]


def _require(store: Store, keys: Sequence[str], lock: Lock) -> Lock:
    """Make sure that the keys, at least one, are locked as asked; the first stands for all.

    Those that are not were written long ago, or by a server that asks for no lock.
    """
    first, least = keys[0], lock.until - _MARGIN
    found = locking.lock_of(store, first)
    if found is not None and found.is_weaker(lock):
        raise liftable(store.storage, first)
    if found is not None and found.until >= least:
        return found
    locking.extend(store, keys, replace(found, until=lock.until) if found else lock)
    found = locking.lock_of(store, first)
    if found is None or found.until < least:
        raise unlocked(store.storage, first, found)
    return found


def _groups(store: Store, manifest: Manifest) -> Iterator[list[str]]:
    """Yield the keys of each file in S3; those of a server that writes them itself together."""
    carrier, snapshot = manifest.carrier, manifest.snapshot
    for file in manifest.files:
        if not file.local_only:
            key = layout.data_key(carrier, snapshot, file.name)
            yield list(_volumes(key, file, manifest.in_s3(file)))
    if not manifest.files:
        yield _data(store, carrier, snapshot)


def _volumes(key: str, file: StoredFile, size: int) -> Iterator[str]:
    """size: of the file in S3, in bytes."""
    count = -(-size // (file.volume_size or max(size, 1)))
    return (volume_key(key, number) for number in range(1, max(count, 1) + 1))


def _data(store: Store, carrier: Carrier, snapshot: SnapshotId) -> list[str]:
    return [found.key for found in store.all_keys(f"{layout.data_folder(carrier, snapshot)}/")]
