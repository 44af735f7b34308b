"""Families: a table or view in the scratch server with all its parts, and their new names.

The family of a partitioned table is its whole tree; any other relation is a family by itself.
Indexes, owned sequences and statistics belong to it. Members are known by oid: names may change.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from three_backup.model.objects import ObjectId
from three_backup.sources.base import AbsentError
from three_backup.sources.jobs import Landing
from three_backup.sources.postgres.relations import object_id
from three_backup.sources.postgres.restoring.naming import follow, free

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_ROOT = """
SELECT c.oid::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
"""
_TABLES = """
SELECT c.oid::int8, c.relkind::text, n.nspname::text, c.relname::text, c.relpersistence = 'u'
  FROM (SELECT relid FROM pg_partition_tree(%(root)s::oid::regclass)
         UNION SELECT %(root)s::oid) AS tree
  JOIN pg_class c ON c.oid = tree.relid JOIN pg_namespace n ON n.oid = c.relnamespace
 ORDER BY c.oid <> %(root)s, c.oid
"""
_PARTS = """
SELECT c.oid::int8, c.relkind::text, n.nspname::text, c.relname::text, i.indrelid::int8
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indrelid = ANY(%(tables)s::oid[])
 UNION ALL
SELECT c.oid::int8, c.relkind::text, n.nspname::text, c.relname::text, d.refobjid::int8
  FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
   AND d.refobjid = ANY(%(tables)s::oid[]) AND d.deptype IN ('a', 'i')
 UNION ALL
SELECT s.oid::int8, 'statistics', n.nspname::text, s.stxname::text, s.stxrelid::int8
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
 WHERE s.stxrelid = ANY(%(tables)s::oid[])
 ORDER BY 4
"""
_FILES = """
SELECT DISTINCT pg_relation_filepath(f.oid)
  FROM pg_class t
  LEFT JOIN pg_index x ON x.indrelid IN (t.oid, t.reltoastrelid)
  CROSS JOIN LATERAL (VALUES (t.oid), (t.reltoastrelid), (x.indexrelid)) AS f (oid)
 WHERE t.oid = ANY(%s::oid[]) AND t.relkind IN ('r', 'm') AND f.oid <> 0
"""
SEQUENCE = "S"
MATERIALIZED_VIEW = "m"
VIEWS = ("v", MATERIALIZED_VIEW)
STATISTICS = "statistics"
_ALTERED_AS = {
    "r": "TABLE",
    "p": "TABLE",
    "f": "FOREIGN TABLE",
    "v": "VIEW",
    "m": "MATERIALIZED VIEW",
    "i": "INDEX",
    "I": "INDEX",
    "S": "SEQUENCE",
    "statistics": "STATISTICS",
}


@dataclass(frozen=True, slots=True)
class Name:
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class FamilyPart:
    """A member of a family."""

    oid: int
    kind: str  # pg_class's relkind, or `statistics`
    table: int  # the oid of the table it belongs to; for a table its own
    source: Name  # in the snapshot
    target: Name  # after the restore
    unlogged: bool = False

    @property
    def altered_as(self) -> str:
        """The keyword after ALTER or DROP."""
        return _ALTERED_AS[self.kind]

    @property
    def namespace(self) -> tuple[str, bool]:
        """The schema, and whether its name is one of statistics, which clash with no others."""
        return self.target.schema, self.kind == STATISTICS


@dataclass(frozen=True, slots=True)
class Family:
    """A wanted table or view with all that is restored with it."""

    object: ObjectId
    target: ObjectId
    tables: tuple[FamilyPart, ...]  # the wanted relation first, then its partitions
    parts: tuple[FamilyPart, ...]  # what belongs to the tables

    @property
    def root(self) -> FamilyPart:
        return self.tables[0]

    @property
    def members(self) -> Iterator[FamilyPart]:
        yield from self.tables
        yield from self.parts

    @property
    def in_place(self) -> bool:
        """True if it keeps its schema and name; the database may be another one."""
        return self.root.source == self.root.target

    def ids(self) -> Iterator[ObjectId]:
        """Yield the ids of its tables in the snapshot."""
        for table in self.tables:
            yield object_id(self.object.level1, table.kind, table.source.schema, table.source.name)


def read_family(
    scratch: "Connection",
    wanted: ObjectId,
    targets: Mapping[ObjectId, ObjectId],
    landing: Landing | None = None,
) -> Family:
    """Read the family of the wanted object; targets has the new ids of all wanted objects.

    landing: of the scratch server. Raises AbsentError where the object did not exist then.
    """
    row = scratch.execute(_ROOT, (wanted.level2, wanted.level3)).fetchone()
    if row is None:
        raise absent(wanted, landing)
    target = targets[wanted]
    rows = scratch.execute(_TABLES, {"root": row[0]}).fetchall()
    tables = tuple(_table(row, wanted, targets) for row in rows)
    by_oid = {table.oid: table for table in tables}
    parts = scratch.execute(_PARTS, {"tables": list(by_oid)}).fetchall()
    return Family(wanted, target, tables, tuple(_part(row, by_oid) for row in parts))


def absent(wanted: ObjectId, landing: Landing | None) -> AbsentError:
    """Return the error for what did not exist at the end of the snapshot, or at the landing."""
    if landing is None:
        return AbsentError(
            "postgres.not_in_snapshot",
            f"{wanted}: it did not exist at the end of the snapshot",
            "restore an older snapshot",
        )
    return AbsentError(
        "postgres.not_at_moment",
        f"{wanted}: it did not exist at that moment",
        "give another moment, or the name that it had then",
    )


def read_files(scratch: "Connection", family: Family) -> set[str]:
    """Return the relation files without which the rows cannot be read.

    Indexes are among them: a query asks for their lengths, even if it uses none.
    """
    return files_of(scratch, [table.oid for table in family.tables])


def files_of(scratch: "Connection", relations: Sequence[int]) -> set[str]:
    """Return the files of these relations, by oid, with those of their indexes and long values."""
    rows = scratch.execute(_FILES, (list(relations),))
    return {path for (path,) in rows if path is not None}


def without_clashes(family: Family, taken: Callable[[str, str], set[str]]) -> Family:
    """Return the family with free names for its parts.

    taken: lists the names in a schema that are in the way of a part of some kind.
    """
    used: dict[tuple[str, bool], set[str]] = {}
    for part in family.members:
        if part.namespace not in used:
            used[part.namespace] = set(taken(part.target.schema, part.kind))
    for table in family.tables:
        used[table.namespace].add(table.target.name)
    parts = []
    for part in family.parts:
        name = free(part.target.name, used[part.namespace])
        used[part.namespace].add(name)
        parts.append(replace(part, target=Name(part.target.schema, name)))
    return replace(family, parts=tuple(parts))


def _table(
    row: tuple[int, str, str, str, bool], wanted: ObjectId, targets: Mapping[ObjectId, ObjectId]
) -> FamilyPart:
    oid, kind, schema, name, unlogged = row
    target, own = targets[wanted], object_id(wanted.level1, kind, schema, name)
    if own in targets and targets[own].level1 == target.level1:
        placed = Name(targets[own].level2, targets[own].level3)
    else:
        moved = target.level2 != wanted.level2
        placed = Name(
            target.level2 if moved else schema, follow(name, wanted.level3, target.level3)
        )
    return FamilyPart(oid, kind, oid, Name(schema, name), placed, unlogged)


def _part(row: tuple[int, str, str, str, int], tables: Mapping[int, FamilyPart]) -> FamilyPart:
    oid, kind, schema, name, table = row
    owner = tables[table]
    followed = follow(name, owner.source.name, owner.target.name)
    moved = owner.target.schema != owner.source.schema
    placed = Name(owner.target.schema if moved else schema, followed)
    return FamilyPart(oid, kind, table, Name(schema, name), placed)
