"""The sources there are. To add one, add a folder, a line here and a man page."""

from three_backup.errors import UsageError
from three_backup.sources.base import DirectSource, PointSource, Source, WholeSource
from three_backup.sources.clickhouse.source import ClickhouseSource
from three_backup.sources.lxd.source import LxdSource
from three_backup.sources.postgres.source import PostgresSource

POINTS: tuple[PointSource, ...] = (LxdSource(),)
DIRECT: tuple[DirectSource, ...] = (ClickhouseSource(),)
WHOLE: tuple[WholeSource, ...] = (PostgresSource(),)
SOURCES: tuple[Source, ...] = (*POINTS, *WHOLE, *DIRECT)


def source_of(source_type: str) -> Source:
    """Return the source of this type. Raises UsageError where there is none."""
    for source in SOURCES:
        if source.type == source_type:
            return source
    known = ", ".join(source.type for source in SOURCES)
    raise UsageError("source.unknown", f"{source_type!r} is not a source", f"known are {known}")


def direct_source_of(source_type: str) -> DirectSource | None:
    """Return the source if its server writes snapshots to S3 itself, otherwise None."""
    return next((source for source in DIRECT if source.type == source_type), None)


def point_source_of(source_type: str) -> PointSource | None:
    """Return the source if it holds its snapshots itself, None if this host or S3 does."""
    return next((source for source in POINTS if source.type == source_type), None)
