"""Finds the relation files that a view reads, be it by way of others."""

from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.postgres.restoring.family import Family, files_of

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# What a table inherits to counts as the table, and so do the partitions of a partitioned one.
_READS = """
WITH RECURSIVE read (oid) AS (
  SELECT unnest(%s::oid[])
   UNION
  SELECT other.oid
    FROM read JOIN pg_class c ON c.oid = read.oid
    CROSS JOIN LATERAL (
      SELECT d.refobjid FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
       WHERE r.ev_class = c.oid AND c.relkind = 'v' AND d.refclassid = 'pg_class'::regclass
       UNION
      SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid) AS other (oid)
)
SELECT c.oid::int8, c.relkind::text, c.oid::regclass::text FROM read JOIN pg_class c USING (oid)
"""


def files_read(scratch: "Connection", family: Family) -> set[str]:
    """Return the files without which the rows of the family cannot be read."""
    found = scratch.execute(_READS, ([table.oid for table in family.tables],)).fetchall()
    return files_of(scratch, [oid for oid, _, _ in found])


def check_stored(scratch: "Connection", family: Family) -> None:
    """Raise BackupError where some of the rows lie in another server."""
    found = scratch.execute(_READS, ([table.oid for table in family.tables],)).fetchall()
    if foreign := [name for _, kind, name in found if kind == "f"]:
        raise BackupError(
            "postgres.foreign_rows",
            f"{family.object}: the rows of {foreign[0]} lie in another server, and in no snapshot",
            "--definition shows what makes it",
        )
