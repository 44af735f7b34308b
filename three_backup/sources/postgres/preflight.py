"""Read the state of a server, and check that its configuration allows a backup."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

OLDEST = 17
"""The first major version with incremental backups."""

SUMMARIZE = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf()"
_CLUSTER = """
SELECT current_setting('server_version_num')::int,
       current_setting('server_version'),
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
       CASE WHEN recovering
            THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())
            ELSE ('x' || substr(pg_catalog.pg_walfile_name(written), 1, 8))::bit(32)::int END,
       CASE WHEN recovering THEN pg_catalog.pg_last_wal_replay_lsn() ELSE written END::text,
       (SELECT redo_lsn::text FROM pg_catalog.pg_control_checkpoint()),
       recovering,
       coalesce(current_setting('summarize_wal', true), 'off') = 'on',
       current_setting('wal_level'),
       current_setting('max_wal_senders')::int,
       (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10),
       (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'),
       current_setting('block_size')::int,
       current_setting('data_checksums') = 'on'
  FROM (SELECT recovering,
               CASE WHEN NOT recovering THEN pg_catalog.pg_current_wal_lsn() END AS written
          FROM pg_catalog.pg_is_in_recovery() AS recovering) AS state
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The state of a server. Sizes in bytes."""

    version: int  # `server_version_num`
    version_text: str
    identifier: str
    timeline: int
    lsn: str  # how far its WAL is written; replayed, if it is a standby
    redo: str  # where its last checkpoint starts
    in_recovery: bool
    summarize_wal: bool
    wal_level: str
    max_wal_senders: int
    superuser: str  # the role that initdb made, by its current name
    wal_segment_size: int
    block_size: int
    checksums: bool

    @property
    def major(self) -> int:
        return self.version // 10000

    @property
    def server(self) -> str:
        return f"PostgreSQL {self.version_text.split()[0]}"

    @property
    def carrier(self) -> Carrier:
        return Carrier(f"postgres/cluster/{self.identifier}")

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what the catalog record of each of its objects says of the cluster."""
        return {
            "system_identifier": self.identifier,
            "timeline": self.timeline,
            "lsn": self.lsn,
            "in_recovery": self.in_recovery,
            "summarize_wal": self.summarize_wal,
            "server": self.server,
        }


def read_cluster(connection: "Connection") -> Cluster:
    """Read the state of the server. Raises BackupError if it is older than OLDEST."""
    from three_backup.sources.postgres.connection import as_stored

    with as_stored(connection):
        (row,) = connection.execute(_CLUSTER).fetchall()
    cluster = Cluster(*row)
    if cluster.major < OLDEST:
        raise BackupError(
            "postgres.version",
            f"{cluster.server} has no incremental backups",
            f"upgrade the server to {OLDEST} or later",
        )
    return cluster


def check_backup(cluster: Cluster) -> None:
    """Raise BackupError if the configuration of the server allows no backup at all."""
    if cluster.wal_level == "minimal":
        raise BackupError(
            "postgres.wal_level",
            "PostgreSQL: wal_level is minimal, which allows no backup",
            "run ALTER SYSTEM SET wal_level = replica and restart the server",
        )
    if cluster.max_wal_senders == 0:
        raise BackupError(
            "postgres.no_wal_sender",
            "PostgreSQL: max_wal_senders is 0, which allows no backup",
            "run ALTER SYSTEM SET max_wal_senders = 10 and restart the server",
        )
