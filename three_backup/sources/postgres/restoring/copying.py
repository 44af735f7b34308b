"""Copies the rows of a table from the scratch server into a table of the target."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.postgres.restoring.family import MATERIALIZED_VIEW, FamilyPart

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
_BATCH_SIZE = 256 << 10


def copy_rows(scratch: "Connection", target: "Connection", table: FamilyPart, into: str) -> int:
    source, columns = scratch.execute(_COLUMNS, (table.oid,)).fetchall()[0]
    what = f"({columns})" if columns else ""
    encoding = _encoding(scratch)
    rows = f"(TABLE {source})" if table.kind == MATERIALIZED_VIEW else f"{source} {what}"
    reading, writing = scratch.cursor(), target.cursor()
    with (
        reading.copy(f"COPY {rows} TO STDOUT {encoding}".encode()) as given,
        writing.copy(f"COPY {into} {what} FROM STDIN {encoding}".encode()) as taken,
    ):
        for batch in _batches(given):
            taken.write(batch)
    return all_arrived(table, reading.rowcount, writing.rowcount)


def all_arrived(table: FamilyPart, sent: int, arrived: int) -> int:
    if arrived != sent:
        raise BackupError(
            "postgres.rows_differ", f"{table.target.name}: {arrived} of {sent} rows arrived"
        )
    return arrived


def _encoding(scratch: "Connection") -> str:
    """Return COPY's encoding option: only the target can check what SQL_ASCII bytes mean."""
    ((encoding,),) = scratch.execute("SHOW server_encoding")
    return "WITH (ENCODING 'SQL_ASCII')" if encoding == "SQL_ASCII" else ""


def _batches(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """Yield the rows in batches, since every call costs time."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row)
        if size >= _BATCH_SIZE:
            yield b"".join(batch)
            batch, size = [], 0
    yield b"".join(batch)
