"""Copies the rows of a table from the scratch server into a table of the target."""

from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.postgres.restoring.family import MATERIALIZED_VIEW, FamilyPart
from three_backup.sources.postgres.restoring.long_rows import long_rows
from three_backup.sources.postgres.restoring.streaming import stream_rows

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_COLUMNS = """
SELECT c.oid::regclass::text,
       coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), '')
  FROM pg_class c
  LEFT JOIN pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.oid = %s::oid GROUP BY c.oid
"""
_SELECT = "(SELECT {} FROM {} AS t)"


def copy_rows(
    scratch: "Connection",
    target: "Connection",
    table: FamilyPart,
    into: str,
    selected: str | None,
) -> int:
    """Copy all rows into a table whose columns have the same names; return how many.

    selected: what to select from the table `t` instead of its columns.
    """
    source, columns = scratch.execute(_COLUMNS, (table.oid,)).fetchall()[0]
    what = f"({columns})" if columns else ""
    long = long_rows(scratch, target, table.oid, into) if selected is None else None
    if selected is not None:
        rows = _SELECT.format(selected, source)
    elif long is not None:
        rows = f"({long.others})"
    elif table.kind == MATERIALIZED_VIEW:
        rows = f"(TABLE {source})"
    else:
        rows = f"{source} {what}"
    copied = all_arrived(table, *stream_rows(scratch, target, rows, f"{into} {what}"))
    return copied if long is None else copied + all_arrived(table, *long.copy())


def all_arrived(table: FamilyPart, sent: int, arrived: int) -> int:
    if arrived != sent:
        raise BackupError(
            "postgres.rows_differ", f"{table.target.name}: {arrived} of {sent} rows arrived"
        )
    return arrived
