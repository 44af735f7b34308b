"""The tables and views of a server, and what BACKUP stores of each."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.changes import UNSETTLED, names
from three_backup.sources.clickhouse.client import Client, Row
from three_backup.sources.clickhouse.cluster_name import cluster_name

TYPE = "clickhouse"
SUBTYPES = ("table", "view")
DEFINITION_ONLY = "definition only"
MATERIALIZED = "materialized view"
RESTORING = ".tb-restore-"
"""Beginning of the names of tables that a restore has not finished."""

DRILLING = "three_backup_drill_"
"""Beginning of the names of databases that a drill restores into."""

_KINDS = {
    "View": "view",
    "MaterializedView": MATERIALIZED,
    "LiveView": "live view",
    "WindowView": "window view",
    "Dictionary": "dictionary",
}
_STORING = re.compile(r".*MergeTree|(?:Tiny|Stripe)?Log|Memory|EmbeddedRocksDB")
_OF_PARTS = "TimeSeries"  # whose rows lie in tables of its own, which BACKUP stores with it
_CHANGING = re.compile(r".*MergeTree")
_CHECKABLE = re.compile(r".*MergeTree|(?:Tiny|Stripe)?Log")
_FOREIGN = re.compile(
    r"S3.*|Azure.*|URL|MySQL|PostgreSQL|MaterializedPostgreSQL|MongoDB|Redis|RabbitMQ|NATS|Kafka|"
    r"Iceberg.*|DeltaLake.*|Hudi|Dictionary"
)
_INNER = re.compile(
    r"(?:\.tmp)?\.inner\.(.*)|(?:\.tmp)?\.inner_id\.(?:\w+\.)?([0-9a-f-]{36})", re.DOTALL
)
_SYSTEM = ("system", "information_schema", "INFORMATION_SCHEMA", "_temporary_and_external_tables")
_ELSEWHERE = "Dictionary|SQLite|PostgreSQL|MySQL|S3|HDFS|Filesystem|Backup|.*Catalog|Iceberg"
"""Engines of databases that only show what lies elsewhere; BACKUP refuses their tables."""

_COLUMNS = (
    "database, name, engine, toString(uuid) AS uuid, toUInt64(ifNull(total_bytes, 0)) AS bytes, "
    "as_select, engine = 'MaterializedView' AND position(create_table_query, ' REFRESH ') > 0 "
    "AS refreshed, match(create_table_query, ' REFRESH (EVERY|AFTER) [^()]* APPEND ') AS appends, "
    "toString(now()) AS asked, "
    "position(engine_full, 'enable_block_number_column = 1') > 0 AS patched, "
    "database IN (SELECT name FROM system.databases WHERE "
    f"match(engine, {sql.literal(f'^({_ELSEWHERE})$')})) AS elsewhere"
)
_ALL = (
    f"SELECT {_COLUMNS} FROM system.tables WHERE NOT is_temporary "
    f"AND database NOT IN ({', '.join(map(sql.literal, _SYSTEM))}) ORDER BY database, name"
)
SYSTEM = "system"
OF_SERVER = ("users", "roles", "settings_profiles", "row_policies", "quotas", "functions")
"""Tables of SYSTEM that BACKUP knows: what was created by SQL and belongs to no database."""

_OF_SERVER = (
    f"SELECT {_COLUMNS} FROM system.tables WHERE database = {sql.literal(SYSTEM)} "
    f"AND name IN ({', '.join(map(sql.literal, OF_SERVER))}) ORDER BY name"
)
_ONE = (
    f"SELECT {_COLUMNS}, {UNSETTLED} AS unsettled "
    "FROM system.tables WHERE database = {database} AND name = {table}"
)
_NAMED = (
    f"SELECT {_COLUMNS} FROM system.tables WHERE database = {{database}} AND name IN ({{names}})"
)
ATTEMPTS = "backup_restore_s3_retry_attempts"
BANDWIDTH = "max_backup_bandwidth"
_SERVER = (
    "SELECT version() AS version, toString(serverUUID()) AS uuid, "
    "(SELECT groupArray(substitution) FROM system.macros WHERE macro = 'cluster') AS macros, "
    "(SELECT groupUniqArray(cluster) FROM system.clusters "
    "WHERE is_local AND NOT startsWith(cluster, 'test_')) AS clusters, "
    "(SELECT groupArray(name) FROM system.settings "
    f"WHERE name IN ({sql.literal(ATTEMPTS)}, {sql.literal(BANDWIDTH)})) AS known, "
    "(SELECT groupArray(name) FROM system.settings WHERE type = 'Bool' "
    "AND value IN ('0', 'false') AND readonly = 0 "
    "AND match(name, '^(allow_|enable_.*(table|type|engine)s?$)')) AS refuses"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A ClickHouse server."""

    version: str  # with the name, for people
    cluster: str  # level1 of its objects: tells those of several servers apart
    known: tuple[str, ...]  # ATTEMPTS and BANDWIDTH if it has these settings, as newer ones do
    refuses: tuple[str, ...]  # settings without which it creates not everything that it knows


def stores(engine: str) -> bool:
    """Return whether a table of this engine has rows of its own, which BACKUP stores."""
    return _STORING.fullmatch(engine) is not None


@dataclass(frozen=True, slots=True)
class Listed:
    """A table or view."""

    relation: sql.Relation
    engine: str
    uuid: str
    size: int  # bytes on the server's disk
    reads: str  # the query of a view
    refreshed: bool  # a materialized view that a schedule of its own fills
    appends: bool  # and that keeps the rows that it had
    asked: str  # the server's time when it was asked
    elsewhere: bool  # its database only shows what lies in another system
    patched: bool  # lightweight updates may make patch parts of it
    unsettled: bool  # changes of its rows may be under way

    @property
    def kind(self) -> str:
        return _KINDS.get(self.engine, "table")

    @property
    def subtype(self) -> str:
        return "view" if self.kind.endswith("view") else "table"

    @property
    def facts(self) -> dict[str, Any]:
        facts = {"kind": self.kind, "engine": self.engine}
        if self.elsewhere:
            database = sql.identifier(self.relation.database)
            why = f"database {database} only shows what another system holds: back that up"
            return {**facts, "unsupported": why}
        return facts if self._complete else {**facts, "data": DEFINITION_ONLY}

    @property
    def stores(self) -> bool:
        return stores(self.engine)

    @property
    def checkable(self) -> bool:
        return _CHECKABLE.fullmatch(self.engine) is not None

    @property
    def holds_credentials(self) -> bool:
        """Return whether the definition may hold a password or a key of another server."""
        return _FOREIGN.fullmatch(self.engine) is not None

    @property
    def _complete(self) -> bool:
        """Return whether BACKUP stores all rows.

        A view has none, or those of its inner table; they are left out if each refresh makes all
        of them anew.
        """
        if self.subtype == "view":
            return not self.refreshed or self.appends
        return self.stores or self.engine == _OF_PARTS or self.relation.database == SYSTEM

    def object_id(self, cluster: str) -> ObjectId:
        return ObjectId(TYPE, self.subtype, cluster, self.relation.database, self.relation.name)


def read_server(client: Client, settings: Settings, *, remember: bool = False) -> Server:
    """Return the server. remember: its cluster is called so from now on."""
    (server,) = client.ask(_SERVER)
    clusters = server["macros"] or server["clusters"]
    cluster = cluster_name(settings, server["uuid"], clusters, remember=remember)
    return Server(
        f"ClickHouse {server['version']}",
        cluster,
        tuple(server["known"]),
        tuple(server["refuses"]),
    )


class KnownServer:
    """The server of several restores, which is asked once what it is."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._server: Server | None = None

    def read(self, client: Client, settings: Settings) -> Server:
        with self._lock:
            if self._server is None:
                self._server = read_server(client, settings)
            return self._server


def all_relations(client: Client, settings: Settings) -> Iterator[Listed]:
    """Yield the tables and views of the server.

    Leaves out system databases, tables in which views keep their rows, and unfinished restores
    and drills. With clickhouse_system users, roles and the like are among them.
    """
    if settings.clickhouse_system:
        yield from map(_found, client.ask(_OF_SERVER))
    rows = client.ask(_ALL)
    owners = {row["uuid"] for row in rows} | {(row["database"], row["name"]) for row in rows}
    for row in rows:
        drilled = row["database"].startswith(DRILLING)
        if not (drilled or _is_inner(row, owners) or row["name"].startswith(RESTORING)):
            yield _found(row)


def relation(client: Client, wanted: sql.Relation) -> Listed | None:
    """Return a table or view by its name; None if there is none."""
    rows = client.ask(_ONE.format(**names(wanted)))
    return _found(rows[0]) if rows else None


def relations(client: Client, wanted: Sequence[sql.Relation]) -> dict[sql.Relation, Listed]:
    """Return those tables and views of one database that are there, by their names.

    Whether their rows are `unsettled` is not asked.
    """
    names = ", ".join(sql.literal(one.name) for one in wanted)
    rows = client.ask(_NAMED.format(database=sql.literal(wanted[0].database), names=names))
    return {found.relation: found for found in map(_found, rows)}


def existing(client: Client, object_id: ObjectId) -> Listed:
    """Return the table or view of an object. Raises BackupError if it is gone."""
    found = relation(client, sql.relation(object_id))
    if found is None:
        raise BackupError(
            "clickhouse.no_table",
            f"{object_id}: there is no such table",
            "it was dropped or renamed; tb-discover lists what there is",
        )
    return found


def inner(client: Client, view: Listed) -> Listed | None:
    """Return the table in which a materialized view keeps its rows; None if it has none."""
    database = view.relation.database
    names: Sequence[str] = (f".inner_id.{view.uuid}", f".inner.{view.relation.name}")
    tables = (relation(client, sql.Relation(database, name)) for name in names)
    return next((table for table in tables if table is not None), None)


def changing(client: Client, found: Listed) -> Listed | None:
    """Return the table whose rows BACKUP stores and mutations change; None if there is none."""
    keeping = inner(client, found) if found.kind == MATERIALIZED else found
    return keeping if keeping is not None and _CHANGING.fullmatch(keeping.engine) else None


def _is_inner(row: Row, owners: set[Any]) -> bool:
    match = _INNER.fullmatch(row["name"])
    if match is None:
        return False
    return match[2] in owners or (row["database"], match[1]) in owners


def _found(row: Row) -> Listed:
    return Listed(
        sql.Relation(row["database"], row["name"]),
        row["engine"],
        row["uuid"],
        int(row["bytes"]),
        row["as_select"],
        bool(int(row["refreshed"])),
        bool(int(row["appends"])),
        row["asked"],
        bool(int(row["elsewhere"])),
        bool(int(row["patched"])),
        bool(int(row.get("unsettled", 0))),
    )
