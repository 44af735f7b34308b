"""Keeps listed what the bucket would not delete, and tells until when."""

import os
from collections.abc import Sequence
from datetime import datetime

from three_backup.catalog.catalog import Catalog
from three_backup.model.dependencies import Place
from three_backup.model.local_time import local
from three_backup.model.locked import unless_locked
from three_backup.model.objects import Carrier
from three_backup.model.retention import Verdict
from three_backup.model.schedule import host_zone
from three_backup.model.snapshots import SnapshotId
from three_backup.s3.lock import Lock


def heeding_locks(
    verdicts: list[Verdict], carrier: Carrier, catalog: Catalog, now: datetime, *, asking: bool
) -> list[Verdict]:
    """Return the verdicts on a carrier, with what is locked in S3 staying.

    asking: look in S3 for locks that this host does not remember, of what would go. Raises
    BackupError.
    """
    going = [each.snapshot for each in verdicts if not each.keep and each.place is Place.S3]
    if not going:
        return verdicts
    locks = catalog.locks
    lasting = locks.look(carrier, going, now) if asking else locks.known(carrier, now)
    told = {snapshot: _told(lasting[snapshot]) for snapshot in going if snapshot in lasting}
    return unless_locked(verdicts, told) if told else verdicts


def staying(
    verdicts: Sequence[Verdict], carrier: Carrier, catalog: Catalog, now: datetime
) -> dict[SnapshotId, datetime]:
    """Return the snapshots that only their locks keep in S3, and until when, oldest first."""
    known = catalog.locks.known(carrier, now)
    found = {
        each.snapshot: known[each.snapshot].until
        for each in verdicts
        if each.snapshot in known and each.reason == _told(known[each.snapshot])
    }
    return dict(sorted(found.items()))


def _told(lock: Lock) -> str:
    return f"locked until {local(lock.until, host_zone(os.environ))}"
