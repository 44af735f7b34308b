"""Until when the snapshots in S3 are locked, by their manifests; remembered on this host.

Data is locked before its manifest, so the lock of a manifest tells how long all of a snapshot is
locked at least. Locks are only made longer: one that is remembered and lasts still need not be
looked at again.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from three_backup.catalog.cache import folder_of
from three_backup.host.durable import write_durably
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId, rfc3339
from three_backup.model.storage import Storage
from three_backup.s3 import locking
from three_backup.s3.lock import Lock
from three_backup.s3.store import Store


class Locks:
    """The locks of the snapshots of one storage."""

    def __init__(self, storage: Storage, store: Callable[[], Store | None]) -> None:
        self._storage = storage
        self._store = store

    def known(self, carrier: Carrier, now: datetime) -> dict[SnapshotId, Lock]:
        """Return the locks that last, as far as this host remembers them."""
        return {
            snapshot: lock
            for snapshot, lock in self._remembered(carrier).items()
            if lock.until > now
        }

    def look(
        self, carrier: Carrier, snapshots: Iterable[SnapshotId], now: datetime
    ) -> dict[SnapshotId, Lock]:
        """Return the locks that last of these snapshots in S3; S3 is asked for unknown ones."""
        known, wanted = self.known(carrier, now), list(snapshots)
        asked = [snapshot for snapshot in wanted if snapshot not in known]
        store = self._store()
        if asked and store is not None:
            keys = [layout.manifest_key(carrier, snapshot) for snapshot in asked]
            answers = zip(asked, locking.locks_of(store, keys), strict=True)
            found = {snapshot: lock for snapshot, lock in answers if lock and lock.until > now}
            self.note(carrier, found, now)
            known |= found
        return {snapshot: known[snapshot] for snapshot in wanted if snapshot in known}

    def note(self, carrier: Carrier, found: Mapping[SnapshotId, Lock], now: datetime) -> None:
        """Remember locks that were found or made. A user who may only read goes without."""
        if not found or not os.access(self._storage.local_dir, os.W_OK):
            return
        path = self._path(carrier)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lasting = {**self.known(carrier, now), **found}
        fields = {str(each): [lock.mode, rfc3339(lock.until)] for each, lock in lasting.items()}
        write_durably(path, json.dumps({"v": 1, "locks": fields}).encode() + b"\n")

    def _remembered(self, carrier: Carrier) -> dict[SnapshotId, Lock]:
        try:
            fields = json.loads(self._path(carrier).read_bytes())["locks"]
            found = {
                SnapshotId.parse(name): Lock(mode, datetime.fromisoformat(until).astimezone(UTC))
                for name, (mode, until) in fields.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # S3 is asked
        return {snapshot: lock for snapshot, lock in found.items() if snapshot is not None}

    def _path(self, carrier: Carrier) -> Path:
        return folder_of(self._storage) / "locked" / f"{layout.path(carrier)}.json"
