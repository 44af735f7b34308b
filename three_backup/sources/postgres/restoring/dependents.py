"""Finds what depends on a table that shall be replaced: reads catalogs, takes no lock."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# own: the tables with their partitions, and what is dropped with them. A rule counts as its view;
# a default, a constraint, a policy or a trigger counts as its table. What belongs to the tables
# themselves is not listed, and no publication, which goes with them without a word.
_DEPENDENTS = """
WITH tables AS (
  SELECT given AS oid FROM unnest(%(tables)s::oid[]) AS given
   UNION SELECT relid FROM unnest(%(tables)s::oid[]) AS given, pg_partition_tree(given::regclass)
), own (classid, objid) AS (
  SELECT 'pg_class'::regclass::oid, oid FROM tables
   UNION SELECT 'pg_class'::regclass, indexrelid FROM pg_index JOIN tables ON oid = indrelid
   UNION SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN tables t
             ON t.oid = k.conrelid
   UNION SELECT 'pg_type'::regclass, y.oid FROM pg_type y
             JOIN pg_type r ON r.oid IN (y.oid, y.typelem) JOIN tables t ON t.oid = r.typrelid
   UNION SELECT 'pg_class'::regclass, d.objid FROM pg_depend d JOIN tables t
             ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
          WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
), dependent AS (
  SELECT DISTINCT coalesce(r.ev_class, a.adrelid, k.conrelid, p.polrelid, g.tgrelid,
                           CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END) AS owner,
         CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END AS classid,
         coalesce(r.ev_class, d.objid) AS objid
    FROM own o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
    LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
   WHERE d.deptype = 'n' AND d.classid <> 'pg_publication_rel'::regclass
)
SELECT coalesce(owner, 0)::int8, i.type || ' ' || i.identity
  FROM dependent, pg_identify_object(classid, objid, 0) AS i
 WHERE owner IS NULL OR owner NOT IN (SELECT objid FROM own)
 ORDER BY 2
"""


@dataclass(frozen=True, slots=True)
class Dependent:
    """An object that depends on a table or view."""

    owner: int  # the oid of the view or table that it is or belongs to; 0 for anything else
    identity: str

    def __str__(self) -> str:
        return self.identity


def read_dependents(target: "Connection", tables: Iterable[int]) -> list[Dependent]:
    """Return what would keep these tables and views (oids) from being dropped together."""
    rows = target.execute(_DEPENDENTS, {"tables": list(tables)})
    return [Dependent(owner, identity) for owner, identity in rows]


def depended_on(target: ObjectId, dependents: Iterable[object]) -> BackupError:
    return BackupError(
        "postgres.depended_on",
        f"{target}: it cannot be replaced, other objects depend on it "
        f"({'; '.join(map(str, dependents))})",
        "restore beside it (--level3-suffix _restored), or drop these objects first",
    )
