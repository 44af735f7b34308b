"""A tablespace that comes while a backup runs.

The backup has nothing of it but the WAL of its creation. Whoever replays that has a link to the
live folder in the data directory, and writes there.
"""

from collections.abc import Collection, Mapping

from three_backup.errors import BackupError
from three_backup.sources.postgres.connection import connect, quoted

_LIVE = "SELECT oid::int8, spcname::text FROM pg_tablespace WHERE spcname !~ '^pg_'"


def live_tablespaces() -> dict[int, str]:
    """Their names by their oids."""
    with connect() as connection:
        return dict(connection.execute(_LIVE).fetchall())


def refuse_new_tablespaces(
    carrier: str, before: Collection[int], streamed: Mapping[int, str]
) -> None:
    """Raises BackupError where there are others than before the backup, which begins at a
    checkpoint and lists them after it. That of a standby lies in the past: one that was created
    since only the restore finds, in the WAL.

    streamed: the locations that the backup lists.
    """
    known = {**streamed, **live_tablespaces()}
    new = [name for oid, name in known.items() if oid not in before]
    if new:
        raise BackupError(
            "postgres.tablespace_meanwhile",
            f"{carrier}: tablespace {quoted(new[0])} was created meanwhile",
            "take the snapshot again",
        )
