"""Stages a family inside the scratch server: moves it to its own schemas under its new names.

There nothing clashes, pg_dump takes it whole, and the target loads it beside what is there. The
table is moved; its schema is never renamed, since types of extensions would change their names.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import STATISTICS, Family, FamilyPart

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_MEMBERSHIPS = """
SELECT inhparent::regclass::text, CASE WHEN c.relispartition
                                       THEN pg_get_expr(c.relpartbound, c.oid) END
  FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhrelid = %s::oid
"""
_EXTENSIONS = """
SELECT objid::int8, extname::text FROM pg_depend JOIN pg_extension e ON e.oid = refobjid
 WHERE classid = 'pg_class'::regclass AND objid = ANY(%s::oid[])
   AND refclassid = 'pg_extension'::regclass AND deptype = 'e'
"""
_RELATION_NAME = "SELECT %s::oid::regclass::text"
_STATISTICS_NAME = """
SELECT format('%%I.%%I', n.nspname, s.stxname)
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.oid = %s::oid
"""
_OCCUPANTS = """
SELECT CASE c.relkind WHEN 'c' THEN 'TYPE' WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                      WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' WHEN 'f' THEN 'FOREIGN TABLE'
                      WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
       c.relname::text
  FROM pg_class c WHERE c.relnamespace = to_regnamespace(%(schema)s)::oid
   AND c.relname = ANY(%(names)s)
 UNION ALL
SELECT 'TYPE', t.typname::text FROM pg_type t
 WHERE t.typnamespace = to_regnamespace(%(schema)s)::oid AND t.typname = ANY(%(names)s)
   AND t.typrelid = 0 AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
"""
_OCCUPYING_STATISTICS = """
SELECT 'STATISTICS', stxname::text FROM pg_statistic_ext
 WHERE stxnamespace = to_regnamespace(%(schema)s)::oid AND stxname = ANY(%(names)s)
"""


@dataclass(frozen=True, slots=True)
class Membership:
    """A parent of a table."""

    parent: str
    bound: str | None  # of a partition; None where the table inherits

    def statement(self, child: str) -> str:
        if self.bound is None:
            return f"ALTER TABLE {child} INHERIT {self.parent}"
        return f"ALTER TABLE {self.parent} ATTACH PARTITION {child} {self.bound}"


@dataclass(frozen=True, slots=True)
class Staged:
    """A family in its stage."""

    family: Family
    prefix: str  # of the stage's schemas
    memberships: tuple[Membership, ...]  # the parents that its root was detached from
    extensions: tuple[str, ...]  # the extensions that it was taken out of

    @property
    def schemas(self) -> list[str]:
        return sorted({self.schema(part) for part in self.family.members})

    def schema(self, part: FamilyPart) -> str:
        """Return the schema in which the part is staged.

        Parts with the same source and the same target schema stay together, so that names clash no
        more than they do there.
        """
        moves = sorted({_move(member) for member in self.family.members})
        return f"{self.prefix}_{moves.index(_move(part))}"

    def name(self, part: FamilyPart) -> str:
        """The quoted name of the part while it is staged."""
        return f"{quoted(self.schema(part))}.{quoted(part.target.name)}"

    def placements(self) -> Iterator[str]:
        """Yield statements that move the family to its final place and drop the stage.

        Only what gets its name in its schema makes array types there give way.
        """
        for part in filter(_moves_itself, self.family.members):
            alter, stage = f"ALTER {part.altered_as}", quoted(self.schema(part))
            aside, schema = quoted(f"{self.prefix}_{part.oid}"), quoted(part.target.schema)
            yield f"{alter} {self.name(part)} RENAME TO {aside}"
            yield f"{alter} {stage}.{aside} SET SCHEMA {schema}"
            yield f"{alter} {schema}.{aside} RENAME TO {quoted(part.target.name)}"
        for stage in self.schemas:
            yield f"DROP SCHEMA {quoted(stage)}"


def stage(
    scratch: "Connection", family: Family, prefix: str, can_inherit: Callable[[str], bool]
) -> Staged:
    """Detach the family from its parents and extensions, and move and rename all of it.

    can_inherit: whether the target has this parent, so that a table that keeps its name may keep
    the parent as well.
    """
    with scratch.transaction():
        memberships = _detach(scratch, family, can_inherit)
        extensions = _leave_extensions(scratch, family)
        staged = Staged(family, prefix, memberships, extensions)
        for schema in staged.schemas:
            _execute(scratch, f"CREATE SCHEMA {quoted(schema)}")
        for part in filter(_moves_itself, family.members):
            schema = quoted(staged.schema(part))
            _execute(scratch, f"{_alter(scratch, part)} SET SCHEMA {schema}")
        renamed = [part for part in family.members if part.source.name != part.target.name]
        for part in renamed:  # by way of an unused name: parts may be swapping names
            _execute(scratch, f"{_alter(scratch, part)} RENAME TO {quoted(_aside(part.oid))}")
        for part in renamed:
            name = quoted(part.target.name)
            _execute(scratch, f"{_alter(scratch, part)} RENAME TO {name}")
    return staged


def place(scratch: "Connection", staged: Staged) -> None:
    """Move the family to its final place, so that dumps of its dependents use its final name.

    What has such a name already is renamed: wanted objects are known by their oids.
    """
    with scratch.transaction():
        wanted: dict[tuple[str, bool], list[str]] = {}
        for part in staged.family.members:
            wanted.setdefault(part.namespace, []).append(part.target.name)
        for (schema, is_of_statistics), names in wanted.items():
            _execute(scratch, f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
            occupants = _OCCUPYING_STATISTICS if is_of_statistics else _OCCUPANTS
            _clear(scratch, occupants, schema, names, staged.prefix)
        for statement in staged.placements():
            _execute(scratch, statement)


def _clear(
    scratch: "Connection", occupants: str, schema: str, names: list[str], prefix: str
) -> None:
    given = {"schema": quoted(schema), "names": names}
    found = scratch.execute(occupants.encode(), given).fetchall()
    for number, (kind, name) in enumerate(found):
        occupant = f"{quoted(schema)}.{quoted(name)}"
        aside = quoted(f"{prefix}_aside_{number}")
        _execute(scratch, f"ALTER {kind} {occupant} RENAME TO {aside}")


def _detach(
    scratch: "Connection", family: Family, can_inherit: Callable[[str], bool]
) -> tuple[Membership, ...]:
    rows = scratch.execute(_MEMBERSHIPS, (family.root.oid,)).fetchall()
    memberships = tuple(
        Membership(parent, bound)
        for parent, bound in rows
        if bound is not None or not (family.in_place and can_inherit(parent))
    )
    (child,) = _row(scratch, _RELATION_NAME, family.root.oid)
    for membership in memberships:
        if membership.bound is None:
            _execute(scratch, f"ALTER TABLE {child} NO INHERIT {membership.parent}")
        else:
            _execute(scratch, f"ALTER TABLE {membership.parent} DETACH PARTITION {child}")
    return memberships


def _leave_extensions(scratch: "Connection", family: Family) -> tuple[str, ...]:
    """Take the family out of its extensions, whose members pg_dump does not dump."""
    by_oid = {part.oid: part for part in family.members if part.kind != STATISTICS}
    rows = scratch.execute(_EXTENSIONS, (list(by_oid),)).fetchall()
    for oid, extension in rows:
        part = by_oid[oid]
        (name,) = _row(scratch, _RELATION_NAME, oid)
        kind = part.altered_as
        _execute(scratch, f"ALTER EXTENSION {quoted(extension)} DROP {kind} {name}")
    return tuple(sorted({extension for _, extension in rows}))


def _moves_itself(part: FamilyPart) -> bool:
    """Return whether the part must be moved; indexes and owned sequences follow their table."""
    return part.oid == part.table or part.kind == STATISTICS


def _alter(scratch: "Connection", part: FamilyPart) -> str:
    query = _STATISTICS_NAME if part.kind == STATISTICS else _RELATION_NAME
    (name,) = _row(scratch, query, part.oid)
    return f"ALTER {part.altered_as} {name}"


def _aside(oid: int) -> str:
    return f"three_backup_{oid}"


def _move(part: FamilyPart) -> tuple[str, str]:
    return part.source.schema, part.target.schema


def _row(scratch: "Connection", query: str, oid: int) -> tuple[str, ...]:
    return scratch.execute(query.encode(), (oid,)).fetchall()[0]


def _execute(scratch: "Connection", statement: str) -> None:
    scratch.execute(statement.encode(*AS_BYTES))
