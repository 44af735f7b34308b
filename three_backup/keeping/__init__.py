"""The three ways in which snapshots are kept, and their removal from S3."""

from three_backup.keeping.base import Keeping
from three_backup.keeping.direct import DirectKeeping
from three_backup.keeping.folders import FolderKeeping
from three_backup.keeping.points import PointKeeping
from three_backup.sources import DIRECT, FOLDERS, POINTS, source_of

__all__ = ["Keeping", "keeping_of"]

_KEEPINGS: tuple[Keeping, ...] = (
    *map(FolderKeeping, FOLDERS),
    *map(PointKeeping, POINTS),
    *map(DirectKeeping, DIRECT),
)


def keeping_of(source_type: str) -> Keeping:
    """Return the way in which this source's snapshots are kept. Raises UsageError."""
    source = source_of(source_type)
    return next(keeping for keeping in _KEEPINGS if keeping.source is source)
