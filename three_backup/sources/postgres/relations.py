"""The databases of a cluster, and how their tables and views are asked for and named."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.connection import quoted

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

TYPE = "postgres"
USER_SCHEMA = r"(n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')"
"""Of pg_namespace n: whether what is in it counts as a user's. No user may begin a name by pg_."""

OBJECT_KINDS = "('r', 'p', 'f', 'v', 'm')"
_KINDS = {
    "r": ("table", "table"),
    "p": ("table", "partitioned table"),
    "f": ("table", "foreign table"),
    "v": ("view", "view"),
    "m": ("view", "materialized view"),
}
_UNLOGGED = "u"
# A limit of -2 marks what a DROP DATABASE that was interrupted left behind; template0 is as initdb
# made it.
_DATABASES = """
SELECT d.oid::int8, datname::text, datallowconn, has_database_privilege(d.oid, 'CONNECT'),
       datconnlimit = 0 AND NOT rolsuper, rolname::text
  FROM pg_database d JOIN pg_roles ON rolname = current_user
 WHERE datname <> 'template0' AND datconnlimit <> -2
 ORDER BY datname
"""


@dataclass(frozen=True, slots=True)
class Database:
    """refusal: why we may not connect to it, None if we may; closed: nobody may, which is no
    failure of ours."""

    oid: int
    name: str
    refusal: BackupError | None = None
    closed: bool = False


def databases(connection: "Connection") -> list[Database]:
    """All that can have tables, template1 too."""
    return [
        Database(oid, name, _refusal(name, role, is_open, allowed, is_full), not is_open)
        for oid, name, is_open, allowed, is_full, role in connection.execute(_DATABASES)
    ]


def object_id(database: str, relkind: str, schema: str, name: str) -> ObjectId:
    return ObjectId(TYPE, _KINDS[relkind][0], database, schema, name)


def kind(relkind: str, persistence: str) -> str:
    """`table`, `materialized view`, `unlogged table` ...: what people call it."""
    return f"unlogged {_KINDS[relkind][1]}" if persistence == _UNLOGGED else _KINDS[relkind][1]


def _refusal(
    database: str, role: str, is_open: bool, allowed: bool, is_full: bool
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
