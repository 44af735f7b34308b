"""What a server says of its WAL at the moment when it is asked."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.postgres.preflight import Cluster
from three_backup.sources.postgres.replication import history_of, identify
from three_backup.sources.postgres.wal.names import position
from three_backup.sources.postgres.wal.timelines import Way, way_to

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# A standby knows only of what it has replayed. A transaction that did not wait for its WAL
# (synchronous_commit = off) waits for the WAL writer, for three rounds of it at most.
_CLOCK = """
SELECT CASE WHEN recovering
            THEN coalesce(pg_catalog.pg_last_xact_replay_timestamp(),
                          (SELECT checkpoint_time FROM pg_catalog.pg_control_checkpoint()))
            ELSE pg_catalog.clock_timestamp() END,
       CASE WHEN recovering THEN '0/0'::pg_lsn
            ELSE pg_catalog.pg_current_wal_insert_lsn() END::text,
       3 * current_setting('wal_writer_delay')::interval
  FROM pg_catalog.pg_is_in_recovery() AS recovering
"""


@dataclass(frozen=True, slots=True)
class Now:
    """How far the server has come."""

    timeline: int
    end: int  # position up to which it gives WAL away
    at: datetime  # by its clock: what was committed until then lies before the end
    way: Way
    histories: Mapping[int, bytes]  # the history files that it has, of the timelines on the way


def ask_now(connection: "Connection", replication: "Connection", cluster: Cluster) -> Now:
    """Ask the server how far it has come. Raises BackupError if another cluster answers."""
    ((at, inserted, delay),) = connection.execute(_CLOCK.encode()).fetchall()
    identity = identify(replication)
    if identity.identifier != cluster.identifier:
        raise BackupError(
            "postgres.other_cluster",
            f"{cluster.carrier}: replication connections reach another cluster",
            "set PGHOST to one host only",
        )
    end = position(identity.lsn)
    histories = _histories(replication, identity.timeline)
    return Now(
        identity.timeline,
        end,
        at - delay if end < position(inserted) else at,
        way_to(identity.timeline, histories),
        histories,
    )


def _histories(replication: "Connection", timeline: int) -> Mapping[int, bytes]:
    import psycopg

    if timeline == 1:
        return {}
    found = {timeline: history_of(replication, timeline)}
    for leg in way_to(timeline, found).legs[:-1]:
        if leg.timeline > 1:
            with suppress(psycopg.errors.UndefinedFile):  # it tells nothing that the last lacks
                found[leg.timeline] = history_of(replication, leg.timeline)
    return found
