"""The rows that differ, in a temporary table of the scratch server, which orders and writes them.

Nothing of them is held in memory here. The table has a row for each key that differs, or without
a key for each row whose number differs: how the earlier and the later side have it, and how many
times.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.comparing import Counts
from three_backup.sources.postgres.comparing.buckets import Scan, bucket, differing
from three_backup.sources.postgres.comparing.foreign_code import leaves, plans_foreign_code
from three_backup.sources.postgres.comparing.shape import Column, Common, Shape
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import MATERIALIZED_VIEW
from three_backup.sources.postgres.restoring.streaming import stream_rows

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# A column is text unless it orders the rows: the later side may have labels of enums, and values
# of domains, that the earlier one does not know.
_LIKE_LATER = "CREATE TEMPORARY TABLE {later} ({columns})"
_AS_TEXT = "CASE WHEN num_nulls({column}) = 0 THEN format('%s', {column}) END"
_EMPTY = """
CREATE TEMPORARY TABLE {different}
  (earlier pg_temp.{later}, later pg_temp.{later}, removed int8, added int8)
"""
_ROWS = "(SELECT {columns} FROM {scanned}{within})"
_BY_KEY = """
INSERT INTO {different}
SELECT e.line, l.line, (e.text IS NOT NULL)::int::int8, (l.text IS NOT NULL)::int::int8
  FROM (SELECT line, ROW({keys})::text AS key, line::text AS text
          FROM (SELECT ROW({columns})::pg_temp.{later} AS line FROM {scanned}{within}) AS e) AS e
  FULL JOIN (SELECT line, ROW({keys})::text AS key, line::text AS text
               FROM pg_temp.{later} AS line) AS l
    ON e.key = l.key
 WHERE e.text IS DISTINCT FROM l.text
"""
_AS_MULTISETS = """
INSERT INTO {different}
SELECT CASE WHEN more > 0 THEN text::pg_temp.{later} END,
       CASE WHEN more < 0 THEN text::pg_temp.{later} END,
       greatest(more, 0), greatest(-more, 0)
  FROM (SELECT text, sum(sign)::int8 AS more
          FROM (SELECT ROW({columns})::pg_temp.{later}::text AS text, 1 AS sign
                  FROM {scanned}{within}
                 UNION ALL SELECT line::text, -1 FROM pg_temp.{later} AS line) AS rows
         GROUP BY text) AS rows
 WHERE more <> 0
"""
_COUNTS = """
SELECT coalesce(sum(added) FILTER (WHERE removed = 0 OR NOT {keyed}), 0)::int8,
       coalesce(sum(removed) FILTER (WHERE added = 0 OR NOT {keyed}), 0)::int8,
       count(*) FILTER (WHERE removed > 0 AND added > 0)
  FROM {different}
"""
_SIGNED = """
COPY (SELECT sign{columns}
        FROM (SELECT sign, place, line, {order}
                FROM {different} AS d
               CROSS JOIN LATERAL (VALUES ('-', 0, d.earlier, d.removed),
                                          ('+', 1, d.later, d.added))
                     AS v (sign, place, line, times)
               CROSS JOIN generate_series(1, times)) AS lines
       ORDER BY {ordered}, place) TO STDOUT (FORMAT csv)
"""


@dataclass(frozen=True, slots=True)
class Different:
    """The rows in which two sides of a relation differ."""

    scratch: "Connection"  # of the earlier side; it has the table
    table: str  # as SQL names it
    earlier: Shape
    later: Shape
    common: Common

    @property
    def is_view(self) -> bool:
        return self.earlier.kind == MATERIALIZED_VIEW

    def counts(self) -> Counts:
        keyed = bool(self.common.key)
        statement = _COUNTS.format(different=self.table, keyed=keyed)
        ((added, removed, changed),) = self.scratch.execute(statement.encode()).fetchall()
        return Counts(added, removed, changed if keyed else None)

    def signed(self) -> Iterator[bytes]:
        """Yield the rows with their signs, in order of the key, after a line that names the
        columns.
        """
        yield b" " + _csv_line(self.common.names)
        key = self.common.key
        values = [f"coalesce((d.earlier).{column}, (d.later).{column})" for column in _quoted(key)]
        values = values or ["line::text"]
        order = [f"o{number}" for number in range(len(values))]
        statement = _SIGNED.format(
            columns="".join(f", (line).{column}" for column in _quoted(self.common.names)),
            order=", ".join(
                f"{value} AS {name}" for value, name in zip(values, order, strict=True)
            ),
            different=self.table,
            ordered=", ".join(order),
        )
        with self.scratch.cursor() as cursor, cursor.copy(_bytes(statement)) as lines:
            for line in lines:  # each is a whole row
                yield bytes(line[:1]) + bytes(line[2:] or b"\n")


def differences(earlier: Scan, later: Scan, number: int) -> Different:
    """Gather the rows that differ. number: tells the temporary tables of objects apart."""
    common = Common.of(earlier.shape, later.shape)
    gathered = _Gathering(earlier, later, common, f"later_{number}", f"pg_temp.different_{number}")
    gathered.gather()
    return Different(earlier.connection, gathered.different, earlier.shape, later.shape, common)


@dataclass(frozen=True, slots=True)
class _Gathering:
    earlier: Scan
    later: Scan
    common: Common
    name: str  # of the temporary table that takes rows of the later side
    different: str

    def gather(self) -> None:
        self._execute(_LIKE_LATER, columns=", ".join(map(self._typed, self.common.columns)))
        self._execute(_EMPTY)
        if self.later.is_live and plans_foreign_code(self.later.connection, self.later.shape.oid):
            for table in leaves(self.later.connection, self.later.shape):
                self._take(f"{table} ({self.common.listed()})" if self.common.columns else table)
            self._compare("")
            return
        if buckets := differing(self.earlier, self.later, self.common):
            numbers = ",".join(map(str, buckets))
            within = f" WHERE {bucket(self.common)} = ANY ('{{{numbers}}}'::int4[])"
            scanned = self.later.shape.scanned
            self._take(_ROWS.format(columns=self.common.listed(), scanned=scanned, within=within))
            self._compare(within)

    def _take(self, rows: str) -> None:
        """Copy rows of the later side into the temporary table. rows: as COPY spells them."""
        stream_rows(self.later.connection, self.earlier.connection, rows, f"pg_temp.{self.name}")

    def _compare(self, within: str) -> None:
        """Fill the table of what differs. within: the condition that rows have been taken by."""
        self._execute(
            _BY_KEY if self.common.key else _AS_MULTISETS,
            keys=", ".join(f"(line).{column}" for column in _quoted(self.common.key)),
            columns=", ".join(map(self._written, self.common.columns)),
            within=within,
        )

    def _execute(self, statement: str, **parts: str) -> None:
        scanned = self.earlier.shape.scanned
        names = {"later": self.name, "different": self.different, "scanned": scanned}
        self.earlier.connection.execute(_bytes(statement.format(**names, **parts)))

    def _typed(self, column: Column) -> str:
        return f"{quoted(column.name)} {self.common.ordered.get(column.name, 'text')}"

    def _written(self, column: Column) -> str:
        name = quoted(column.name)
        return name if column.name in self.common.ordered else _AS_TEXT.format(column=name)


def _quoted(names: Sequence[str]) -> list[str]:
    return [quoted(name) for name in names]


def _bytes(statement: str) -> bytes:
    return statement.encode(*AS_BYTES)


def _csv_line(values: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return _bytes(line.getvalue())
