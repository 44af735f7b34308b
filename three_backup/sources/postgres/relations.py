"""List the databases of a cluster, and name their tables and views."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.connection import as_stored, quoted

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

TYPE = "postgres"
USER_SCHEMA = r"(n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')"
"""SQL condition: schema n is a user's. PostgreSQL reserves schema names that begin with pg_."""

OBJECT_KINDS = "('r', 'p', 'f', 'v', 'm')"
_KINDS = {
    "r": ("table", "table"),
    "p": ("table", "partitioned table"),
    "f": ("table", "foreign table"),
    "v": ("view", "view"),
    "m": ("view", "materialized view"),
}
_UNLOGGED = "u"
# A limit of -2 marks a database that an interrupted DROP DATABASE left behind; template0 is as
# initdb made it.
_DATABASES = """
SELECT d.oid::int8, datname::text, datallowconn, has_database_privilege(d.oid, 'CONNECT'),
       datconnlimit = 0 AND NOT rolsuper, rolname::text
  FROM pg_database d JOIN pg_roles ON rolname = current_user
 WHERE datname <> 'template0' AND datconnlimit <> -2
 ORDER BY datname
"""


@dataclass(frozen=True, slots=True)
class Database:
    """A database of a cluster."""

    oid: int
    name: str
    refusal: BackupError | None = None  # why we may not connect to it; None if we may
    closed: bool = False  # nobody may connect to it, which is not a failure of ours


def databases(connection: "Connection") -> list[Database]:
    """Return all databases that can have tables, template1 too."""
    with as_stored(connection):
        rows = connection.execute(_DATABASES).fetchall()
    return [
        Database(
            oid,
            name,
            _refusal(name, role, is_open=is_open, allowed=allowed, is_full=is_full),
            closed=not is_open,
        )
        for oid, name, is_open, allowed, is_full, role in rows
    ]


def object_id(database: str, relkind: str, schema: str, name: str) -> ObjectId:
    return ObjectId(TYPE, _KINDS[relkind][0], database, schema, name)


def kind(relkind: str, persistence: str) -> str:
    """Return what people call it: `table`, `materialized view`, `unlogged table` ..."""
    return f"unlogged {_KINDS[relkind][1]}" if persistence == _UNLOGGED else _KINDS[relkind][1]


def _refusal(
    database: str, role: str, *, is_open: bool, allowed: bool, is_full: bool
) -> BackupError | None:
    if not is_open:
        return BackupError(
            "postgres.closed",
            f"PostgreSQL: database {quoted(database)} takes no connections",
            f"run as a superuser: ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS true",
        )
    if allowed and is_full:
        return BackupError(
            "postgres.no_connection_slot",
            f"PostgreSQL: database {quoted(database)} takes no connections but of superusers",
            f"run as a superuser: ALTER DATABASE {quoted(database)} CONNECTION LIMIT -1",
        )
    if allowed:
        return None
    return BackupError(
        "postgres.no_connect",
        f"PostgreSQL: permission denied for database {quoted(database)}",
        f"run as a superuser: GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(role)}",
    )
