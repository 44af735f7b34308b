"""Retention of what the bucket locks: it stays listed until its lock ends."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from three_backup.model.dependencies import Place
from three_backup.model.retention import Verdict
from three_backup.model.snapshots import SnapshotId


def unless_locked(verdicts: Iterable[Verdict], locked: Mapping[SnapshotId, str]) -> list[Verdict]:
    """Return the verdicts, with those copies in S3 staying that are locked or that these need.

    verdicts: of a carrier, children before parents. locked: until when, in words for a person.
    """
    needed: dict[datetime, SnapshotId] = {}
    found = []
    for verdict in verdicts:
        snapshot = verdict.snapshot
        reason = locked.get(snapshot)
        if reason is None and snapshot.time in needed:
            reason = f"{needed[snapshot.time]} needs it"
        if verdict.place is Place.S3 and not verdict.keep and reason is not None:
            found.append(replace(verdict, keep=True, reason=reason))
            if snapshot.parent is not None:
                needed.setdefault(snapshot.parent, snapshot)
        else:
            found.append(verdict)
    return found
