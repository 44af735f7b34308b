"""Tells whether a mere SELECT runs code of whoever owns a table.

The planner computes constant calls in the expressions of indexes, statistics and partitions, with
the rights of the session. COPY of a table, which has no plan, runs none of that.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.postgres.comparing.shape import Shape
from three_backup.sources.postgres.restoring.as_owner import runs_foreign_code

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_TREE = """
SELECT c.oid::int8, c.oid::regclass::text, c.relkind::text
  FROM (SELECT %(root)s::oid AS oid
         UNION SELECT relid FROM pg_catalog.pg_partition_tree(%(root)s::oid::regclass)) AS tree
  JOIN pg_catalog.pg_class c USING (oid) ORDER BY c.oid
"""
_EXPRESSIONS = """
SELECT concat_ws(' ', indexprs, indpred) FROM pg_catalog.pg_index
 WHERE indrelid = ANY(%(tree)s::oid[])
 UNION ALL
SELECT stxexprs::text FROM pg_catalog.pg_statistic_ext WHERE stxrelid = ANY(%(tree)s::oid[])
 UNION ALL
SELECT partexprs::text FROM pg_catalog.pg_partitioned_table
 WHERE partrelid = ANY(%(tree)s::oid[])
 UNION ALL
SELECT relpartbound::text FROM pg_catalog.pg_class WHERE oid = ANY(%(tree)s::oid[])
"""


def plans_foreign_code(connection: "Connection", root: int) -> bool:
    """Return whether the plan of a SELECT from this table runs functions that are not harmless."""
    tree = [oid for oid, _, _ in _tree(connection, root)]
    found = connection.execute(_EXPRESSIONS, {"tree": tree}).fetchall()
    return runs_foreign_code(connection, [text for (text,) in found if text])


def leaves(connection: "Connection", shape: Shape) -> Sequence[str]:
    """Return the tables that have the rows of this one, as SQL names them.

    Raises BackupError where COPY cannot read it.
    """
    tree = _tree(connection, shape.oid)
    if not {kind for _, _, kind in tree} <= {"r", "p"}:
        raise BackupError(
            "postgres.foreign_code",
            f"{shape.object}: its indexes call functions of its owner, which would run with the "
            "rights of whoever compares",
            "compare two snapshots (--to), or only its tables",
        )
    return [name for _, name, kind in tree if kind == "r"]


def _tree(connection: "Connection", root: int) -> list[tuple[int, str, str]]:
    return connection.execute(_TREE, {"root": root}).fetchall()
