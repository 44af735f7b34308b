"""Decides which snapshots are copied into a further store, and in which order."""

import os
from collections.abc import Iterable, Sequence
from datetime import datetime

from three_backup.catalog.catalog import Catalog
from three_backup.deciding.candidates import held
from three_backup.deciding.locked import heeding_locks
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier
from three_backup.model.retention import Candidate, Limits, Verdict, decide
from three_backup.model.schedule import host_zone, is_from_the_future
from three_backup.model.snapshots import SnapshotId, chain

Chain = Sequence[SnapshotId]
"""A snapshot, the last, with all that it builds on, the base first."""


def to_copy(
    carrier: Carrier, source: Catalog, target: Catalog, limits: Limits, now: datetime
) -> list[Chain]:
    """Return the chains whose last snapshot the target lacks and would keep.

    Each comes after those that it builds on; what builds on the newest base comes first. Raises
    BackupError if a hold of the carrier cannot be read.
    """
    there = {stored.id for stored in target.snapshots(carrier) if stored.s3}
    here = [stored for stored in source.filled(carrier) if stored.s3]
    if there.issuperset(stored.id for stored in here):
        return []
    gone = there - {stored.id for stored in here}
    every = [*here, *(stored for stored in target.snapshots(carrier) if stored.id in gone)]
    candidates = [
        Candidate(stored._replace(local=False), ahead=is_from_the_future(stored.id.time, now))
        for stored in every
    ]
    told = held(candidates, carrier, source, now)
    verdicts = decide(told, limits, Kept.DIRECT, host_zone(os.environ))
    kept = [each.snapshot for each in verdicts if each.keep and each.snapshot not in there]
    return _ordered({stored.id for stored in every}, kept)


def of_copies(carrier: Carrier, target: Catalog, limits: Limits, now: datetime) -> list[Verdict]:
    """Return the verdict of a store's retention on each copy there, children before parents.

    Raises BackupError if it cannot be read which copies are held or locked.
    """
    candidates = [
        Candidate(stored._replace(local=False), ahead=is_from_the_future(stored.id.time, now))
        for stored in target.snapshots(carrier)
        if stored.s3
    ]
    told = held(candidates, carrier, target, now)
    verdicts = decide(told, limits, Kept.DIRECT, host_zone(os.environ))
    return heeding_locks(verdicts, carrier, target, now, asking=True)


def _ordered(known: Iterable[SnapshotId], wanted: Iterable[SnapshotId]) -> list[Chain]:
    known = list(known)
    chains = [found for snapshot in wanted if (found := chain(known, snapshot))]
    by_time = sorted(chains, key=lambda links: links[-1].time)
    return sorted(by_time, key=lambda links: links[0].time, reverse=True)
