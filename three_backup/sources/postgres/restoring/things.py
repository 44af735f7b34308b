"""Things that were created in a target, with their owners and grants there and at the source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import SEQUENCE, STATISTICS, VIEWS, FamilyPart
from three_backup.sources.postgres.restoring.needs import Need

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_CATALOGS: Mapping[str, tuple[str, str | None]] = {
    "pg_class": ("rel", "CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\""),
    "pg_proc": ("pro", "'f'"),
    "pg_type": ("typ", "'T'"),
    "pg_namespace": ("nsp", "'n'"),
    "pg_foreign_server": ("srv", "'S'"),
    "pg_foreign_data_wrapper": ("fdw", "'F'"),
    "pg_language": ("lan", "'l'"),
    "pg_largeobject_metadata": ("lom", "'L'"),
    "pg_operator": ("opr", None),
    "pg_opclass": ("opc", None),
    "pg_opfamily": ("opf", None),
    "pg_collation": ("coll", None),
    "pg_conversion": ("con", None),
    "pg_ts_dict": ("dict", None),
    "pg_ts_config": ("cfg", None),
    "pg_statistic_ext": ("stx", None),
}
"""The catalogs of owners and grants: how columns begin, and what acldefault() calls things."""

# pg_shdepend would be shorter, but it leaves out what belongs to predefined roles.
OWNED = " UNION ALL ".join(
    f"SELECT '{catalog.removesuffix('_metadata')}'::regclass::oid, oid, {begin}owner"  # noqa: S608
    f" FROM {catalog}"
    for catalog, (begin, _) in _CATALOGS.items()
)
"""A query for class, oid and owner of everything that has an owner."""

_OWNERS = f"""
SELECT o.classid::int8, o.objid::int8, pg_get_userbyid(coalesce(s.owner, 10))::text
  FROM unnest(%(classes)s::oid[], %(oids)s::oid[]) AS o (classid, objid)
  LEFT JOIN ({OWNED}) AS s (classid, objid, owner) USING (classid, objid)
"""  # noqa: S608
_ACLS = " UNION ALL ".join(
    f"SELECT '{catalog.removesuffix('_metadata')}'::regclass::oid, oid, NULL::name, {begin}owner,"  # noqa: S608
    f" coalesce({begin}acl, acldefault({kind}, {begin}owner)) FROM {catalog}"
    for catalog, (begin, kind) in _CATALOGS.items()
    if kind is not None
)
_GRANTS = f"""
SELECT a.classid::int8, a.objid::int8, a.attname::text,
       pg_get_userbyid(nullif(g.grantee, 0))::text, g.privilege_type, g.is_grantable,
       pg_get_userbyid(nullif(g.grantor, a.owner))::text
  FROM ({_ACLS}
         UNION ALL
        SELECT 'pg_class'::regclass, attrelid, attname, relowner, attacl
          FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
       ) AS a (classid, objid, attname, owner, acl)
  CROSS JOIN LATERAL aclexplode(a.acl) AS g
 WHERE (a.classid, a.objid) IN (SELECT * FROM unnest(%(classes)s::oid[], %(oids)s::oid[]))
"""  # noqa: S608
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
    grantor: str | None = None  # None: its owner


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
    stage: str = ""  # the schema, quoted, in which nobody else finds it yet


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
        there = (classid, oid)
        return Thing((classid, part.oid), there, name, None, "SEQUENCE", stage=quoted(schema))
    return Thing(
        (classid, part.oid),
        (classid, oid),
        name,
        part.altered_as,
        "TABLE",
        has_code or part.kind in VIEWS,
        quoted(schema),
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
    rows = connection.execute(_OWNERS.encode(), _given(things))
    return {(classid, objid): owner for classid, objid, owner in rows}


def _given(things: Sequence[Address]) -> dict[str, list[int]]:
    return {
        "classes": [classid for classid, _ in things],
        "oids": [objid for _, objid in things],
    }
