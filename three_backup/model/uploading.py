"""The snapshots that an upload sends, and the obstacle to sending each of the others. Pure."""

from collections.abc import Collection, Iterable
from datetime import datetime

from three_backup.model.kept import Kept
from three_backup.model.snapshots import SnapshotId, Stored


def unsent(
    snapshots: Iterable[Stored], kept: Kept, surplus: Collection[SnapshotId] = ()
) -> dict[SnapshotId, str | None]:
    """Return the snapshots of this host that S3 lacks, oldest first, each with what is in the way.

    None stands for a snapshot that an upload sends. An incremental needs its parent in S3; if it
    is a point, also at the source, which makes the increment of both. surplus: left out.
    """
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.id.time)
    there = {snapshot.id.time for snapshot in ordered if snapshot.s3}
    here = {snapshot.id.time for snapshot in ordered if snapshot.local}
    found: dict[SnapshotId, str | None] = {}
    for snapshot in ordered:
        if snapshot.s3 or not snapshot.local or snapshot.id in surplus:
            continue
        obstacle = _obstacle(snapshot.id.parent, there, here if kept is Kept.POINTS else None)
        found[snapshot.id] = obstacle
        if obstacle is None:
            there.add(snapshot.id.time)
    return found


def _obstacle(
    parent: datetime | None, there: Collection[datetime], here: Collection[datetime] | None
) -> str | None:
    """there, here: when the snapshots in S3 and the points at the source were taken."""
    if parent is None:
        return None
    if parent not in there:
        return "its parent is not in S3"
    if here is not None and parent not in here:
        return "its parent is gone from its source"
    return None
