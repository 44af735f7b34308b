"""A tablespace that comes while a backup runs.

The backup has nothing of it but the WAL of its creation. Whoever replays that has a link to the
live folder in the data directory, and writes there.
"""

from collections.abc import Collection

from three_backup.errors import BackupError
from three_backup.sources.postgres.connection import connect, quoted

_LIVE = "SELECT oid::int8, spcname::text FROM pg_tablespace WHERE spcname !~ '^pg_'"


def refuse_new_tablespaces(carrier: str, streamed: Collection[int]) -> None:
    """Raises BackupError where there are others now than those that the backup began with."""
    with connect() as connection:
        names = [name for oid, name in connection.execute(_LIVE) if oid not in streamed]
    if names:
        raise BackupError(
            "postgres.tablespace_meanwhile",
            f"{carrier}: tablespace {quoted(names[0])} was created meanwhile",
            "take the snapshot again",
        )
