"""The sources there are. To add one, add a folder, a line here and a man page."""

from three_backup.errors import UsageError
from three_backup.sources.base import DirectSource, FolderSource, PointSource, Source
from three_backup.sources.clickhouse.source import ClickhouseSource
from three_backup.sources.lxd.daemon.daemons import INCUS, LXD
from three_backup.sources.lxd.source import DaemonSource
from three_backup.sources.postgres.source import PostgresSource

POINTS: tuple[PointSource, ...] = (DaemonSource(LXD), DaemonSource(INCUS))
FOLDERS: tuple[FolderSource, ...] = (PostgresSource(),)
DIRECT: tuple[DirectSource, ...] = (ClickhouseSource(),)
SOURCES: tuple[Source, ...] = (*POINTS, *FOLDERS, *DIRECT)


def source_of(source_type: str) -> Source:
    """Return the source of this type. Raises UsageError where there is none."""
    for source in SOURCES:
        if source.type == source_type:
            return source
    known = ", ".join(source.type for source in SOURCES)
    raise UsageError("source.unknown", f"{source_type!r} is not a source", f"known are {known}")
