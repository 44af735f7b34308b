"""Map relation files to the objects that they belong to.

A relation is named by the path of its first file, `base/5/16391` or
`pg_tblspc/16390/PG_17_202406281/5/16391`: without segment, fork and `INCREMENTAL.`. A table's
indexes and its TOAST table have files of their own that belong to the same object. A mapping is
true for a moment only, so one is read before a backup and one after it.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.objects import ObjectId, escape
from three_backup.sources.postgres.connection import ENDED, connect
from three_backup.sources.postgres.relations import (
    OBJECT_KINDS,
    TYPE,
    USER_SCHEMA,
    Database,
    databases,
    kind,
    object_id,
)

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_FIRST_USER_NUMBER = 16384
_FULL = "postgres.no_connection_slot"
_GONE = "postgres.no_database"
_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to read a database whose connections are all in use."""
_RELATION_FILE = re.compile(
    r"((?:base|pg_tblspc/\d+/PG_\w+)/\d+/)(?:INCREMENTAL\.)?(\d+)(?:_(?:fsm|vm|init))?(?:\.\d+)?",
    re.ASCII,
)
_OBJECTS = f"""
SELECT c.oid::int8, c.relkind::text, c.relpersistence::text, n.nspname::text, c.relname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN {OBJECT_KINDS} AND {USER_SCHEMA}
"""  # noqa: S608
# A TOAST table, and the index of one, belong to the table t that it serves.
_FILES = f"""
SELECT path, CASE WHEN o.relkind IN ('r', 'm') AND {USER_SCHEMA} THEN o.oid::int8 END
  FROM pg_class c
  CROSS JOIN pg_relation_filepath(c.oid) AS path
  LEFT JOIN pg_index i ON i.indexrelid = c.oid
  LEFT JOIN pg_class t ON t.reltoastrelid = coalesce(i.indrelid, c.oid)
  LEFT JOIN pg_class o ON o.oid = coalesce(t.oid, i.indrelid, c.oid)
  LEFT JOIN pg_namespace n ON n.oid = o.relnamespace
 WHERE path IS NOT NULL AND NOT c.relisshared AND c.relpersistence <> 't'
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Owner:
    """A table or materialized view by its oid, which a rename does not change."""

    database: int
    table: int


@dataclass(frozen=True, slots=True)
class MappedObject:
    id: ObjectId
    kind: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A database that refuses us."""

    name: str
    error: BackupError  # the reason

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Return the beginnings of its tables' and views' ids, before the slash that follows."""
        return tuple(f"{TYPE}/{subtype}/{escape(self.name)}" for subtype in ("table", "view"))


@dataclass(frozen=True, slots=True)
class FileMap:
    """The mapping of a cluster's relation files to objects."""

    owners: dict[str, Owner | None]  # by relation; None is the core (catalogs, sequences)
    objects: dict[Owner, MappedObject]  # those without files too
    unread: dict[int, Unread] = field(default_factory=dict)  # by oid; databases in neither


def read_map() -> FileMap:
    """Read the mapping of the whole cluster, without the databases that refuse us.

    Waits for a database whose connections are all in use. Raises BackupError if an administrator
    ends the reading connection.
    """
    found = FileMap({}, {})
    with connect() as connection:
        listed = databases(connection)
    for database in listed:
        refusal = database.refusal or _refusal(database, found)
        if refusal is not None and refusal.code != _GONE:
            found.unread[database.oid] = Unread(database.name, refusal)
    return found


def relation_of(path: str) -> str | None:
    """Return the relation that a file of the data directory belongs to; None if to none."""
    match = _RELATION_FILE.fullmatch(path)
    return match and match[1] + match[2]


def database_of(relation: str) -> int:
    """Return the oid of the database that a relation belongs to."""
    return int(relation.split("/")[-2])


def is_of_initdb(relation: str) -> bool:
    """Tell whether a relation that no mapping knows can only be a catalog."""
    return int(relation.rpartition("/")[2]) < _FIRST_USER_NUMBER


def _refusal(database: Database, found: FileMap) -> BackupError | None:
    """Read the database into found; return why it cannot be read, now or later, else None."""
    try:
        _read_patiently(database, found)
    except BackupError as error:
        if isinstance(error, UnreachableError) or error.code == ENDED:
            raise
        return error
    return None


def _read_patiently(database: Database, found: FileMap) -> None:
    for pause in _PAUSES:
        try:
            return _read(database, found)
        except BackupError as error:
            if error.code not in (_FULL, ENDED):
                raise
            time.sleep(pause)
    return _read(database, found)


def _read(database: Database, found: FileMap) -> None:
    with connect(database.name) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        objects = dict(_objects(connection, database))
        found.owners.update(_files(connection, objects))
        found.objects.update(objects)


def _objects(connection: "Connection", database: Database) -> Iterable[tuple[Owner, MappedObject]]:
    for oid, relkind, persistence, schema, name in connection.execute(_OBJECTS):
        relation_id = object_id(database.name, relkind, schema, name)
        yield Owner(database.oid, oid), MappedObject(relation_id, kind(relkind, persistence))


def _files(
    connection: "Connection", objects: Iterable[Owner]
) -> Iterable[tuple[str, Owner | None]]:
    known = {owner.table: owner for owner in objects}
    for path, table in connection.execute(_FILES):
        if table is None:
            yield path, None
        elif table in known:  # else newer than the list of objects: no owner yet
            yield path, known[table]
