"""Which relation file belongs to which object.

A relation is named by where its first file lies, `base/5/16391` or
`pg_tblspc/16390/PG_17_202406281/5/16391`: a path without segment, fork and `INCREMENTAL.`. Its
indexes and its TOAST table are files of their own that belong to the same object. A mapping is
true for a moment only, so one is read before a backup and one after it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from three_backup.errors import BackupError, UnreachableError
from three_backup.objects import ObjectId
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.relations import (
    OBJECT_KINDS,
    USER_SCHEMA,
    Database,
    databases,
    kind,
    object_id,
)

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_FIRST_USER_NUMBER = 16384
_RELATION_FILE = re.compile(
    r"((?:base|pg_tblspc/\d+/PG_\w+)/\d+/)(?:INCREMENTAL\.)?(\d+)(?:_(?:fsm|vm|init))?(?:\.\d+)?",
    re.ASCII,
)
_OBJECTS = f"""
SELECT c.oid::int8, c.relkind::text, c.relpersistence::text, n.nspname::text, c.relname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN {OBJECT_KINDS} AND {USER_SCHEMA}
"""  # noqa: S608
# A TOAST table, and an index of one, belong to the table t that they serve.
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
    """A table or materialized view by its oid, which stays when it is renamed."""

    database: int
    table: int


@dataclass(frozen=True, slots=True)
class MappedObject:
    id: ObjectId
    kind: str


@dataclass(frozen=True, slots=True)
class FileMap:
    """owners: of each relation by its path, None for what belongs to the core (catalogs,
    sequences); objects: by their oids, those without files too; unread: the databases that are
    in neither, and why."""

    owners: dict[str, Owner | None]
    objects: dict[Owner, MappedObject]
    unread: dict[str, BackupError] = field(default_factory=dict)


def read_map() -> FileMap:
    """The mapping of the whole cluster, without the databases that refuse us."""
    owners: dict[str, Owner | None] = {}
    objects: dict[Owner, MappedObject] = {}
    unread: dict[str, BackupError] = {}
    with connect() as connection:
        found = databases(connection)
    for database in found:
        try:
            _read_database(database, owners, objects)
        except UnreachableError:
            raise
        except BackupError as error:
            unread[database.name] = error
    return FileMap(owners, objects, unread)


def relation_of(path: str) -> str | None:
    """The relation that a file of the data directory belongs to, None where it is of none."""
    match = _RELATION_FILE.fullmatch(path)
    return match and match[1] + match[2]


def is_of_initdb(relation: str) -> bool:
    """Whether a relation that no mapping knows can only be a catalog."""
    return int(relation.rpartition("/")[2]) < _FIRST_USER_NUMBER


def _read_database(
    database: Database, owners: dict[str, Owner | None], objects: dict[Owner, MappedObject]
) -> None:
    if database.refusal is not None:
        raise database.refusal
    with connect(database.name) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        objects.update(_objects(connection, database))
        owners.update(_files(connection, database, objects))


def _objects(connection: "Connection", database: Database) -> Iterable[tuple[Owner, MappedObject]]:
    for oid, relkind, persistence, schema, name in connection.execute(_OBJECTS):
        id = object_id(database.name, relkind, schema, name)
        yield Owner(database.oid, oid), MappedObject(id, kind(relkind, persistence))


def _files(
    connection: "Connection", database: Database, objects: dict[Owner, MappedObject]
) -> Iterable[tuple[str, Owner | None]]:
    known = {owner.table: owner for owner in objects if owner.database == database.oid}
    for path, table in connection.execute(_FILES):
        if table is None:
            yield path, None
        elif table in known:  # else it is younger than the list of objects: nobody's yet
            yield path, known[table]
