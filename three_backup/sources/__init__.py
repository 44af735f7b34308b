"""The sources there are. A fourth one is a folder, a line here and a page."""

from three_backup.errors import UsageError
from three_backup.sources.base import Source
from three_backup.sources.postgres.source import PostgresSource

SOURCES: tuple[Source, ...] = (PostgresSource(),)


def source_of(type: str) -> Source:
    """Raises UsageError where no source has this type."""
    for source in SOURCES:
        if source.type == type:
            return source
    known = ", ".join(source.type for source in SOURCES)
    raise UsageError("source.unknown", f"{type!r} is not a source", f"known are {known}")
