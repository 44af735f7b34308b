"""The target database of a restore: what exists there, and how it is created if missing."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES, ObjectId
from three_backup.sources.postgres.connection import (
    as_stored,
    connect,
    database_of,
    quoted,
    said,
)
from three_backup.sources.postgres.restoring.database_name import rename_database, sendable
from three_backup.sources.postgres.restoring.family import STATISTICS, Family
from three_backup.sources.postgres.restoring.lacking import lacking_told
from three_backup.sources.postgres.restoring.rights import may_not_write
from three_backup.sources.postgres.scratch.session import plain_rows

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_EXISTING = """
SELECT c.oid::int8, c.relkind::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s
"""
_TYPE = """
SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname = %s AND t.typname = %s AND t.typrelid = 0
   AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
"""
_EVENT_TRIGGERS = """
SELECT evtname::text, pg_get_userbyid(evtowner)::text, evtfoid::regproc::text
  FROM pg_event_trigger WHERE evtenabled <> 'D'
"""
_NOT_IN_ENCODING = (
    psycopg.errors.CharacterNotInRepertoire,
    psycopg.errors.UntranslatableCharacter,
)
_KINDS = {
    "r": "TABLE",
    "p": "TABLE",
    "f": "FOREIGN TABLE",
    "v": "VIEW",
    "m": "MATERIALIZED VIEW",
}
# Relations, and types that are no row types, except %(doomed)s with all that it owns.
_TAKEN = """
WITH tree AS (SELECT %(doomed)s::oid AS oid
               UNION SELECT relid FROM pg_partition_tree(%(doomed)s::oid::regclass))
SELECT c.relname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.oid NOT IN (SELECT oid FROM tree)
   AND NOT EXISTS (SELECT FROM pg_index i JOIN tree t ON t.oid = i.indrelid
                    WHERE i.indexrelid = c.oid)
   AND NOT EXISTS (SELECT FROM pg_depend d JOIN tree t ON t.oid = d.refobjid
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
 UNION
SELECT t.typname::text
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname = %(schema)s AND t.typrelid = 0
   AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
"""
_TAKEN_BY_STATISTICS = """
SELECT s.stxname::text
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
 WHERE n.nspname = %(schema)s AND s.stxrelid <> %(doomed)s
   AND s.stxrelid NOT IN (SELECT relid FROM pg_partition_tree(%(doomed)s::oid::regclass))
"""
_DATABASE = "SELECT FROM pg_database WHERE textsend(datname::text) = %s"
_LIKE = """
SELECT format('ENCODING %L LC_COLLATE %L LC_CTYPE %L',
              pg_encoding_to_char(encoding), datcollate, datctype)
       || CASE datlocprovider
            WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', datlocale)
            WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', datlocale)
            ELSE ' LOCALE_PROVIDER libc' END
       || coalesce(' ICU_RULES ' || quote_literal(daticurules), '')
  FROM pg_database WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Existing:
    """A relation that has the name of a target."""

    oid: int
    kind: str

    @property
    def dropped_as(self) -> str:
        return _KINDS[self.kind]


@contextmanager
def connect_target(database: str) -> Iterator["Connection"]:
    """Open a session that may write, and reads rows as the scratch server writes them."""
    with connect(database) as connection:
        connection.execute(
            "SET default_transaction_read_only = off; SET transaction_timeout = 0;"
            "SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0"
        )
        plain_rows(connection)
        with lacking_told(), _refusals_told(connection):
            yield connection


@contextmanager
def _refusals_told(connection: "Connection") -> Iterator[None]:
    """Turn errors that only a restore meets into BackupErrors with their remedies."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise may_not_write(connection, said(error)) from error
    except _NOT_IN_ENCODING as error:
        raise BackupError(
            "postgres.other_encoding",
            f"PostgreSQL: database {quoted(database_of(connection))} cannot hold it: "
            f"{said(error)}",
            "restore into a new database (--level1 with a name that is not there yet), which "
            "gets the encoding of the old one",
        ) from error
    except psycopg.errors.UndefinedObject as error:
        role_is_missing = re.fullmatch(r'role "(.*)" does not exist', said(error))
        if role_is_missing is None:
            raise
        raise BackupError(
            "postgres.no_role",
            f"PostgreSQL: there is no role {quoted(role_is_missing[1])}, which a policy names",
            f"CREATE ROLE {quoted(role_is_missing[1])}",
        ) from error
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        if "extension" not in said(error):
            raise
        raise BackupError(
            "postgres.no_extension",
            f"PostgreSQL: {said(error)}",
            "install the package of the extension on the host of the target",
        ) from error
    except psycopg.errors.Error as error:
        _tell_of_event_trigger(connection, error)
        raise


def _tell_of_event_trigger(connection: "Connection", error: psycopg.Error) -> None:
    """Raise BackupError if an event trigger of the target refused."""
    context = said(error, "context")
    if "function" not in context:
        return
    for name, owner, function in connection.execute(_EVENT_TRIGGERS).fetchall():
        if f"function {function.removeprefix('public.')}(" in context or function in context:
            raise BackupError(
                "postgres.event_trigger",
                f"PostgreSQL: event trigger {quoted(name)} of {quoted(owner)} refuses it: "
                f"{said(error)}",
                f"ALTER EVENT TRIGGER {quoted(name)} DISABLE meanwhile; or pass over all of them "
                "as a superuser: PGOPTIONS='-c event_triggers=off'",
            ) from error


def attempt(target: "Connection", statement: str) -> str | None:
    """Run it inside the caller's transaction: return None, or why it failed without a trace.

    Raises psycopg.Error where the connection is gone.
    """

    def run() -> None:
        with target.transaction():
            target.execute(statement.encode(*AS_BYTES))

    return refusal(run)


def refusal(action: Callable[[], object]) -> str | None:
    """Do it, which leaves no trace where it fails; return None, or why it failed.

    Raises psycopg.Error where the connection is gone.
    """
    try:
        action()
    except psycopg.Error as error:
        if error.sqlstate is None:  # the connection is gone, and the transaction with it
            raise
        return said(error)
    return None


def database_exists(database: str) -> bool:
    with connect() as connection, as_stored(connection):
        row = connection.execute(_DATABASE, (database.encode(*AS_BYTES),)).fetchone()
    return row is not None


def create_database(scratch: "Connection", database: str) -> None:
    """Create an empty database with the encoding and locale of the one that scratch is in."""
    ((like,),) = scratch.execute(_LIKE)
    with connect() as connection, lacking_told(), _refusals_told(connection):
        created = sendable(connection, database)
        statement = f"CREATE DATABASE {quoted(created)} TEMPLATE template0 {like}"
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(statement.encode(*AS_BYTES))
    if created != database:
        rename_database(created, database)


def drop_database(database: str) -> None:
    with connect() as connection:
        dropped = sendable(connection, database)
        if dropped != database:
            rename_database(database, dropped)
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"DROP DATABASE {quoted(dropped)}".encode(*AS_BYTES))


def existing(target: "Connection", schema: str, name: str) -> Existing | None:
    row = target.execute(_EXISTING, (schema, name)).fetchone()
    return None if row is None else Existing(*row)


def relation_exists(target: "Connection", name: str) -> bool:
    """Return whether a relation has this name, which is qualified and quoted."""
    ((oid,),) = target.execute("SELECT to_regclass(%s)", (name,))
    return oid is not None


def check_free(target: "Connection", target_id: ObjectId, *, overwrite: bool) -> Existing | None:
    """Return what would be replaced. Raises BackupError where that must not be replaced."""
    found = existing(target, target_id.level2, target_id.level3)
    is_type = target.execute(_TYPE, (target_id.level2, target_id.level3)).fetchone() is not None
    if is_type or (found is not None and found.kind not in _KINDS):
        raise BackupError(
            "postgres.name_taken",
            f"{target_id}: an index, a sequence or a type has this name already",
            "restore under another name (--level3)",
        )
    if found is not None and not overwrite:
        raise BackupError(
            "postgres.target_exists",
            f"{target_id}: it exists already",
            "restore beside it (--level3-suffix _restored), or replace it (--overwrite)",
        )
    return found


def schemas(target: "Connection") -> set[str]:
    return {name for (name,) in target.execute("SELECT nspname::text FROM pg_namespace")}


def taken_names(
    target: "Connection", schema: str, kind: str, *, doomed: Existing | None
) -> set[str]:
    """Return the names in a schema that no part of this kind can have when doomed is dropped."""
    values = {"schema": schema, "doomed": 0 if doomed is None else doomed.oid}
    query = _TAKEN_BY_STATISTICS if kind == STATISTICS else _TAKEN
    return {name for (name,) in target.execute(query, values)}


def check_partitions_free(target: "Connection", family: Family, doomed: Existing | None) -> None:
    """Raise BackupError where a partition would be restored under a name that is taken."""
    for table in family.tables[1:]:
        taken = taken_names(target, table.target.schema, table.kind, doomed=doomed)
        if table.target.name in taken:
            raise BackupError(
                "postgres.target_exists",
                f"{family.target}: its partition {quoted(table.target.schema)}."
                f"{quoted(table.target.name)} exists already",
                "drop it, or restore under another name (--level3-suffix _restored)",
            )
