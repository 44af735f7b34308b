"""Refuse a backup during which a tablespace was created.

The backup has only the WAL of its creation. Replaying it puts a link to the live folder into the
data directory, and writes there.
"""

from collections.abc import Collection, Mapping

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier
from three_backup.sources.postgres.connection import as_stored, connect, quoted

_LIVE = "SELECT oid::int8, spcname::text FROM pg_tablespace WHERE spcname !~ '^pg_'"


def live_tablespaces() -> dict[int, str]:
    """Return the names of the server's extra tablespaces by oid."""
    with connect() as connection, as_stored(connection):
        return dict(connection.execute(_LIVE).fetchall())


def refuse_new_tablespaces(
    carrier: Carrier, before: Collection[int], streamed: Mapping[int, str]
) -> None:
    """Raise BackupError if there are other tablespaces than before the backup.

    A backup begins at a checkpoint and lists its tablespaces after it. On a standby that
    checkpoint lies in the past: only the restore finds a tablespace created since, in the WAL.
    streamed: the locations that the backup lists, by oid.
    """
    known = {**streamed, **live_tablespaces()}
    new = [name for oid, name in known.items() if oid not in before]
    if new:
        raise BackupError(
            "postgres.tablespace_meanwhile",
            f"{carrier}: tablespace {quoted(new[0])} was created meanwhile",
            "take the snapshot again",
        )
