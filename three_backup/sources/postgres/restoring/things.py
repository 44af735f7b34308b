"""Things that were created in a target, with their owners and grants there and at the source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import SEQUENCE, STATISTICS, VIEWS, FamilyPart
from three_backup.sources.postgres.restoring.needs import Need

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# The bootstrap superuser's oid is always 10, and what it owns has no entry in pg_shdepend.
_OWNERS = """
SELECT o.classid::int8, o.objid::int8, pg_get_userbyid(coalesce(s.refobjid, 10))::text
  FROM unnest(%(classes)s::oid[], %(oids)s::oid[]) AS o (classid, objid)
  LEFT JOIN pg_shdepend s ON s.classid = o.classid AND s.objid = o.objid AND s.objsubid = 0
   AND s.deptype = 'o'
   AND s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_GRANTS = """
SELECT a.classid::int8, a.objid::int8, a.attname::text,
       pg_get_userbyid(nullif(g.grantee, 0))::text, g.privilege_type, g.is_grantable
  FROM (SELECT 'pg_class'::regclass::oid, oid, NULL::name,
               coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                                           relowner))
          FROM pg_class
         UNION ALL SELECT 'pg_class'::regclass, attrelid, attname, attacl FROM pg_attribute
         UNION ALL SELECT 'pg_proc'::regclass, oid, NULL,
                          coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
         UNION ALL SELECT 'pg_type'::regclass, oid, NULL,
                          coalesce(typacl, acldefault('T', typowner)) FROM pg_type
         UNION ALL SELECT 'pg_namespace'::regclass, oid, NULL,
                          coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
         UNION ALL SELECT 'pg_foreign_server'::regclass, oid, NULL,
                          coalesce(srvacl, acldefault('S', srvowner)) FROM pg_foreign_server
         UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, NULL,
                          coalesce(fdwacl, acldefault('F', fdwowner))
                     FROM pg_foreign_data_wrapper
         UNION ALL SELECT 'pg_largeobject'::regclass, oid, NULL,
                          coalesce(lomacl, acldefault('L', lomowner))
                     FROM pg_largeobject_metadata
       ) AS a (classid, objid, attname, acl)
  CROSS JOIN LATERAL aclexplode(a.acl) AS g
 WHERE (a.classid, a.objid) IN (SELECT * FROM unnest(%(classes)s::oid[], %(oids)s::oid[]))
"""
_ADDRESS = (
    "SELECT classid::int8, objid::int8 FROM pg_get_object_address(%s, %s::text[], %s::text[])"
)
_RELATION = "SELECT 'pg_class'::regclass::int8, %s::regclass::int8"

_LIVE = """
SELECT 'pg_class'::regclass::int8, oid::int8, pg_get_userbyid(relowner)::text
  FROM pg_class WHERE oid = to_regclass(%s)
"""
_RUNS_AS_OWNER = """
SELECT EXISTS (SELECT FROM pg_proc WHERE oid = %s::oid AND prosecdef
                  AND 'pg_proc'::regclass = %s::oid)
"""
_WORDS: Mapping[str, tuple[str | None, str | None]] = {
    **{kind: (kind.upper(), "ROUTINE") for kind in ("function", "procedure", "aggregate")},
    **{
        kind: (kind.upper(), None)
        for kind in (
            *("operator", "operator class", "operator family", "collation", "conversion"),
            *("text search dictionary", "text search configuration"),
        )
    },
    "statistics object": ("STATISTICS", None),
    "type": ("TYPE", "TYPE"),
    "schema": ("SCHEMA", "SCHEMA"),
    "view": ("VIEW", "TABLE"),
    "materialized view": ("MATERIALIZED VIEW", "TABLE"),
    "sequence": ("SEQUENCE", "SEQUENCE"),
    "server": ("SERVER", "FOREIGN SERVER"),
    "foreign-data wrapper": ("FOREIGN DATA WRAPPER", "FOREIGN DATA WRAPPER"),
    "language": ("LANGUAGE", "LANGUAGE"),
}
"""The words after ALTER and after GRANT … ON, by what pg_identify_object() calls a thing."""

_RELATIONS, _LARGE_OBJECTS = 1259, 2613
"""The classes in every database: pg_class, and pg_largeobject."""

Address = tuple[int, int]
"""Class and oid of something in a database."""


class Grant(NamedTuple):
    column: str | None
    grantee: str | None  # None: PUBLIC
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that was created in the target."""

    source: Address  # in the scratch server
    target: Address
    name: str  # in the target: qualified and quoted, with arguments if it has any
    altered_as: str | None  # the words after ALTER that give it an owner; None: it has none alone
    granted_on: str | None  # the words after GRANT … ON; None: nothing of it is granted
    # What its owner wrote runs with its owner's rights: a view, a SECURITY DEFINER function, a
    # table whose indexes, triggers or checks call functions. It is never made another role's.
    runs_as_owner: bool = False


def read_grants(connection: "Connection", things: Sequence[Address]) -> dict[Address, set[Grant]]:
    """Return all grants, those that an owner and PUBLIC have by default included."""
    found: dict[Address, set[Grant]] = {thing: set() for thing in things}
    for classid, objid, *grant in connection.execute(_GRANTS.encode(), _given(things)):
        found[classid, objid].add(Grant(*grant))
    return found


def live_grants(target: "Connection", schema: str, name: str) -> set[Grant]:
    """Return what others than its owner are granted on a live relation; nothing if it is gone."""
    row = target.execute(_LIVE, (f"{quoted(schema)}.{quoted(name)}",)).fetchone()
    if row is None:
        return set()
    there, owner = (row[0], row[1]), row[2]
    return {grant for grant in read_grants(target, [there])[there] if grant.grantee != owner}


def thing_of_part(
    target: "Connection", part: FamilyPart, schema: str, *, has_code: bool = False
) -> Thing:
    """Return a member of a family as it is staged in the schema of the target.

    has_code: whether anything of the family calls functions of users.
    """
    names = (schema, part.target.name)
    name = ".".join(map(quoted, names))
    if part.kind == STATISTICS:
        there = _address(target, "statistics object", names, ())
        return Thing((there[0], part.oid), there, name, "STATISTICS", None)
    ((classid, oid),) = target.execute(_RELATION, (name,))
    if part.kind == SEQUENCE:  # it belongs to the owner of its table
        return Thing((classid, part.oid), (classid, oid), name, None, "SEQUENCE")
    return Thing(
        (classid, part.oid),
        (classid, oid),
        name,
        part.altered_as,
        "TABLE",
        has_code or part.kind in VIEWS,
    )


def thing_of(scratch: "Connection", target: "Connection", need: Need) -> Thing:
    """Return what was created in the target because it was needed."""
    altered_as, granted_on = _WORDS.get(need.type, (None, None))
    ((runs_as_owner,),) = scratch.execute(_RUNS_AS_OWNER, (need.oid, need.classid))
    return Thing(
        (need.classid, need.oid),
        _address(target, need.type, need.names, need.arguments),
        need.identity,
        altered_as,
        granted_on,
        runs_as_owner or need.kind in VIEWS,
    )


def address_of_source(part: FamilyPart) -> Address:
    """Return where the scratch server has a table or view."""
    return _RELATIONS, part.oid


def thing_of_large_object(number: int) -> Thing:
    there = (_LARGE_OBJECTS, number)
    return Thing(there, there, str(number), "LARGE OBJECT", "LARGE OBJECT")


def _address(
    target: "Connection", kind: str, names: Sequence[str], args: Sequence[str]
) -> Address:
    """Return where the target has something of this type, names and arguments."""
    ((classid, objid),) = target.execute(_ADDRESS, (kind, list(names), list(args)))
    return classid, objid


def read_owners(connection: "Connection", things: Sequence[Address]) -> dict[Address, str]:
    rows = connection.execute(_OWNERS, _given(things))
    return {(classid, objid): owner for classid, objid, owner in rows}


def _given(things: Sequence[Address]) -> dict[str, list[int]]:
    return {
        "classes": [classid for classid, _ in things],
        "oids": [objid for _, objid in things],
    }
