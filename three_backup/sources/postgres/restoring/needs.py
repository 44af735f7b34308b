"""What a family needs and does not contain: schemas, types, extensions, functions ...

The needs are the closure of pg_depend from the family on. Those that the target lacks are created
there, except what holds rows: nobody would notice afterwards that the table is not the real one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from three_backup.sources.base import LackingError
from three_backup.sources.postgres.restoring.family import Family

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_OWNED_PARTS = (
    "'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_rewrite'::regclass, "
    "'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_statistic_ext'::regclass, "
    "'pg_class'::regclass, 'pg_amop'::regclass, 'pg_amproc'::regclass"
)
# A node is followed to what it depends on; a table, view, type, sequence or operator class also to
# its internal parts (defaults, rules, constraints, operators, support functions). Of functions
# whose body is a text, also those count that it seems to call, where that is asked for, but none
# that would lend it the rights of another role. Not followed: members of an extension (the
# extension brings them), tables of others, foreign keys (they are added one by one), what the
# family is a part of, and its own schemas.
_NEEDS = rf"""
WITH RECURSIVE need (classid, objid) AS (
  SELECT 'pg_class'::regclass::oid, own FROM unnest(%(tables)s::oid[]) AS own
   UNION
  SELECT step.classid, step.objid
    FROM need n
    LEFT JOIN pg_class c ON n.classid = 'pg_class'::regclass AND c.oid = n.objid
    CROSS JOIN LATERAL (
      SELECT d.refclassid, d.refobjid
        FROM pg_depend d
       WHERE d.classid = n.classid AND d.objid = n.objid AND d.deptype NOT IN ('P', 'S')
         AND (d.deptype = 'e' OR NOT EXISTS (
                SELECT FROM pg_depend e WHERE e.classid = n.classid AND e.objid = n.objid
                   AND e.deptype = 'e'))
         AND NOT (n.objid = ANY(%(own)s::oid[]) AND d.refclassid = 'pg_namespace'::regclass)
         AND NOT (n.objid = ANY(%(tables)s::oid[]) AND EXISTS (
                SELECT FROM pg_inherits i WHERE i.inhrelid = n.objid AND i.inhparent = d.refobjid))
       UNION ALL
      SELECT d.classid, d.objid
        FROM pg_depend d
        LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
        LEFT JOIN pg_class p ON d.classid = 'pg_class'::regclass AND p.oid = d.objid
       WHERE d.refclassid = n.classid AND d.refobjid = n.objid
         AND d.deptype IN ('a', 'i', 'P', 'S')
         AND n.classid IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass,
                           'pg_opfamily'::regclass)
         AND d.classid IN ({_OWNED_PARTS})
         AND k.contype IS DISTINCT FROM 'f'
         AND (p.relkind IS NULL OR p.relkind IN ('i', 'I', 'S'))
       UNION ALL
      SELECT 'pg_proc'::regclass, called.oid
        FROM pg_proc f JOIN pg_proc called
          ON called.oid >= 16384 AND strpos(f.prosrc, called.proname) > 0
         AND f.prosrc ~ ('\m' || regexp_replace(called.proname, '(\W)', '\\\1', 'g') || '"?\s*\(')
       WHERE n.classid = 'pg_proc'::regclass AND f.oid = n.objid AND f.oid >= 16384
         AND f.prosqlbody IS NULL AND %(bodies)s
         AND (NOT called.prosecdef OR called.proowner = f.proowner)
       UNION ALL
      SELECT 'pg_class'::regclass, t.typrelid
        FROM pg_type t JOIN pg_class r ON r.oid = t.typrelid AND r.relkind = 'c'
       WHERE n.classid = 'pg_type'::regclass AND t.oid = n.objid
    ) AS step (classid, objid)
   WHERE c.relkind IS NULL OR c.relkind NOT IN ('r', 'p', 'f', 'm')
      OR n.objid = ANY(%(tables)s::oid[])
)
SELECT n.classid::int8, n.objid::int8, coalesce(c.relkind::text, ''), a.type, a.object_names,
       a.object_args, i.identity, coalesce(i.schema, ''),
       l.lanpltrusted OR t.typtype <> 'b' OR n.classid IN (
         'pg_class'::regclass, 'pg_operator'::regclass, 'pg_collation'::regclass,
         'pg_conversion'::regclass, 'pg_ts_config'::regclass, 'pg_ts_dict'::regclass)
  FROM need n
  LEFT JOIN pg_class c ON n.classid = 'pg_class'::regclass AND c.oid = n.objid
  LEFT JOIN pg_type t ON n.classid = 'pg_type'::regclass AND t.oid = n.objid
  LEFT JOIN pg_class r ON r.oid = t.typrelid
  LEFT JOIN pg_proc p ON n.classid = 'pg_proc'::regclass AND p.oid = n.objid
  LEFT JOIN pg_language l ON l.oid = p.prolang
  CROSS JOIN LATERAL pg_identify_object_as_address(n.classid, n.objid, 0) AS a
  CROSS JOIN LATERAL pg_identify_object(n.classid, n.objid, 0) AS i
 WHERE n.objid >= 2200 AND n.objid <> ALL(%(own)s::oid[])
   AND n.classid NOT IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_rewrite'::regclass,
                         'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_amop'::regclass,
                         'pg_amproc'::regclass)
   AND (c.relkind IS NULL OR c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S'))
   AND (t.oid IS NULL OR r.relkind IS NULL OR r.relkind = 'c')
   AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = n.classid AND e.objid = n.objid
                      AND e.deptype = 'e')
 ORDER BY n.objid
"""  # noqa: S608
_HOLDS_ROWS = ("r", "p", "f", "m")
_SCHEMA = "schema"
_CODE = ("function", "procedure", "aggregate")


@dataclass(frozen=True, slots=True)
class Need:
    """Something that the target has to have."""

    # pg_dump lists it by classid and oid.
    classid: int
    oid: int
    kind: str  # pg_class's relkind, or empty
    # Any database finds it by type, names and arguments.
    type: str
    names: tuple[str, ...]
    arguments: tuple[str, ...]
    identity: str
    schema: str  # empty if it lies in none
    for_all: bool  # its owner could make it alone, without a superuser

    @property
    def is_schema(self) -> bool:
        return self.type == _SCHEMA

    @property
    def is_code(self) -> bool:
        return self.type in _CODE

    def __str__(self) -> str:
        return f"{self.type} {self.identity}"


def read_needs(
    scratch: "Connection", families: Sequence[Family], *, bodies: bool = False
) -> list[Need]:
    """Return what the families depend on, unless PostgreSQL or an extension brings it.

    bodies: count what functions seem to call, too, of which PostgreSQL knows nothing.
    """
    given = {
        "bodies": bodies,
        "tables": [table.oid for family in families for table in family.tables],
        "own": [part.oid for family in families for part in family.members],
    }
    return [
        Need(classid, oid, kind, type_, tuple(names), tuple(arguments), identity, schema, bool(by))
        for classid, oid, kind, type_, names, arguments, identity, schema, by in scratch.execute(
            _NEEDS.encode(), given
        )
    ]


def missing(target: "Connection", needs: Iterable[Need]) -> list[Need]:
    """Return the needs that the target database does not have."""
    return [need for need in needs if not _has(target, need)]


def refuse_to_invent(object_id: str, lacking: Iterable[Need]) -> None:
    """Raise LackingError if a table is lacking: an empty one would look like the real one."""
    tables = [str(need) for need in lacking if need.kind in _HOLDS_ROWS]
    if tables:
        raise LackingError(
            "postgres.needs_tables",
            f"{object_id}: it cannot be without {', '.join(tables)}, which the target lacks",
            "restore that first, or with it",
        )


def _has(target: "Connection", need: Need) -> bool:
    try:
        with target.transaction():
            target.execute(
                "SELECT pg_get_object_address(%s, %s::text[], %s::text[])",
                (need.type, list(need.names), list(need.arguments)),
            )
    except psycopg.errors.Error as error:
        if error.sqlstate is None:
            raise
        return False
    return True
