"""Copies long rows value by value, and long values piece by piece.

PostgreSQL stores values of up to a gigabyte, several in a row. But a message of COPY has at most a
gigabyte for the whole row, in which bytes written as text take twice their length, and so would
this program's memory. A long value is sent in the binary form of its type instead, and put into a
table of its own in the target; a row is put together of such tables there.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.restoring.streaming import stream_rows

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_LONGEST = 16 << 20
"""Bytes. Rows above are copied value by value."""
_SHORT = 8 << 10
"""Bytes. Values up to this size are copied together."""
_PIECE = 4 << 20
_BEST_COMPRESSION = 255
_ASSUMED_COMPRESSION = 16
"""The factor for values whose length only their type knows: none of 256 MB passes for short."""
_MAY_HAVE_LONG = """
SELECT coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0) * %s > %s
  FROM pg_class WHERE oid = %s::oid
"""
_SOURCE = "SELECT %s::oid::regclass::text"
# The binary form of a row type or an array names the types in it by oid, which is the same
# elsewhere for built-in types only. Values of other such types are sent as text.
_COLUMNS = """
WITH RECURSIVE made_of (attnum, oid) AS (
  SELECT attnum, atttypid FROM pg_attribute
   WHERE attrelid = %(oid)s::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
   UNION ALL
  SELECT m.attnum, t.typbasetype
    FROM made_of m JOIN pg_type t ON t.oid = m.oid WHERE t.typtype = 'd'
)
SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), t.typsend::regproc::text,
       a.attlen = -1, t.oid IN ('bytea'::regtype, 'text'::regtype, 'varchar'::regtype),
       t.typsend <> 0 AND t.typreceive <> 0 AND CASE
         WHEN t.oid < 16384 THEN true
         WHEN t.typcategory = 'A' THEN t.typelem < 16384
         WHEN t.typtype = 'c'
         THEN NOT EXISTS (SELECT FROM pg_attribute p WHERE p.attrelid = t.typrelid
                                                       AND p.attnum > 0 AND p.atttypid >= 16384)
         ELSE t.typtype = 'b' END,
       EXISTS (SELECT FROM pg_cast WHERE castfunc >= 16384 AND t.oid IN (castsource, casttarget))
  FROM pg_attribute a
  JOIN made_of m USING (attnum) JOIN pg_type t ON t.oid = m.oid AND t.typtype <> 'd'
 WHERE a.attrelid = %(oid)s::oid
 ORDER BY a.attnum
"""
_TAKEN_AS = """
SELECT quote_ident(attname), format_type(atttypid, atttypmod),
       EXISTS (SELECT FROM pg_cast
                WHERE castfunc >= 16384 AND atttypid IN (castsource, casttarget))
  FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
_SCHEMA = """
SELECT quote_ident(nspname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = %s::regclass
"""
_ROWS = "pg_temp.three_backup_rows"
_VALUE = "pg_temp.three_backup_value"
_VALUES_MADE = f"""
CREATE TEMP TABLE IF NOT EXISTS three_backup_value (value bytea STORAGE EXTERNAL);
TRUNCATE {_VALUE}
"""
_FILL_VALUE = f"""
INSERT INTO {_VALUE} SELECT {{}} FROM {_ROWS} WHERE place = %s::tid RETURNING octet_length(value)
"""  # noqa: S608
_PIECE_OF_VALUE = f"SELECT substring(value, %s, %s) FROM {_VALUE}"  # noqa: S608
_ENCODING = "SELECT current_setting('server_encoding')"
# A COPY in binary form: what comes before the value's bytes, if it is the only one, and after.
_BEFORE = struct.Struct("!11siihi")
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_AFTER = struct.pack("!h", -1)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column. The view of the rows and the tables of the target give it names in ASCII."""

    number: int
    name: str  # quoted
    taken_as: str  # its type in the target
    length: str  # SQL for the bytes of a value, or an estimate
    sent: str  # SQL for the bytes in which a value is sent
    sent_as: str  # the type whose binary form these are

    @property
    def value(self) -> str:
        return f"value{self.number}"


@dataclass(frozen=True, slots=True)
class LongRows:
    """The long rows of a table of the scratch server, and where they go in the target."""

    scratch: "Connection"
    target: "Connection"
    columns: Sequence[_Column]
    into: str
    prefix: str  # of names in the target

    @property
    def others(self) -> str:
        """Return the query of the rows that are not long."""
        values = ", ".join(column.value for column in self.columns)
        return f"SELECT {values} FROM {_ROWS} WHERE length <= {_LONGEST}"  # noqa: S608

    def copy(self) -> tuple[int, int]:
        """Copy the long rows; return how many there were, and how many arrived."""
        query = f"SELECT place::text, lengths FROM {_ROWS} WHERE length > {_LONGEST}"  # noqa: S608
        arrived, tables = 0, dict[str, str]()
        found = self.scratch.execute(query.encode(*AS_BYTES)).fetchall()
        for place, lengths in found:
            pairs = zip(self.columns, lengths, strict=True)
            long = [column for column, length in pairs if length > _SHORT]
            self._make_tables(tables, long)
            arrived += self._copy_row(place, long)
            self.target.execute(f"TRUNCATE {', '.join(tables.values())}".encode(*AS_BYTES))
        if tables:
            self.target.execute(f"DROP TABLE {', '.join(tables.values())}".encode(*AS_BYTES))
        return len(found), arrived

    def _make_tables(self, tables: dict[str, str], long: Sequence[_Column]) -> None:
        """Make the tables that are not there yet, and add their names."""
        short = ", ".join(f"{column.value} {column.taken_as}" for column in self.columns)
        wanted = {"row": f"place tid, {short}"}
        wanted |= {column.value: f"value {column.sent_as}" for column in long}
        for name in wanted.keys() - tables.keys():
            tables[name] = f"{self.prefix}{name}"
            self.target.execute(
                f"CREATE UNLOGGED TABLE {tables[name]} ({wanted[name]})".encode(*AS_BYTES)
            )

    def _copy_row(self, place: str, long: Sequence[_Column]) -> int:
        """Copy the row at that place; return how many arrived. long: the columns of its values."""
        short = ["place", *(column.value for column in self.columns if column not in long)]
        names = ", ".join(short)
        rows = f"(SELECT {names} FROM {_ROWS} WHERE place = '{place}')"  # noqa: S608
        stream_rows(self.scratch, self.target, rows, f"{self.prefix}row ({names})")
        with _as_bytes(self.scratch, self.target):
            for column in long:
                self._copy_value(place, column)
        values = ", ".join(
            f"(SELECT value FROM {self.prefix}{column.value})::{column.taken_as}"  # noqa: S608
            if column in long
            else column.value
            for column in self.columns
        )
        own = ", ".join(column.name for column in self.columns)
        insert = f"INSERT INTO {self.into} ({own}) OVERRIDING SYSTEM VALUE SELECT {values}"
        return self.target.execute(f"{insert} FROM {self.prefix}row".encode(*AS_BYTES)).rowcount

    def _copy_value(self, place: str, column: _Column) -> None:
        fill = _FILL_VALUE.format(f"sent{column.number}").encode(*AS_BYTES)
        ((size,),) = self.scratch.execute(fill, (place,)).fetchall()
        into = f"COPY {self.prefix}{column.value} FROM STDIN (FORMAT binary)".encode(*AS_BYTES)
        with self.target.cursor() as writing, writing.copy(into) as taken:
            taken.write(_BEFORE.pack(_SIGNATURE, 0, 0, 1, size))
            for start in range(1, size + 1, _PIECE):
                where = (start, _PIECE)
                found = self.scratch.execute(_PIECE_OF_VALUE.encode(*AS_BYTES), where, binary=True)
                taken.write(found.fetchall()[0][0])
            taken.write(_AFTER)
        self.scratch.execute(f"TRUNCATE {_VALUE}".encode(*AS_BYTES))


def long_rows(scratch: "Connection", target: "Connection", oid: int, into: str) -> LongRows | None:
    """Return the long rows of the table of that oid; None where there can be none."""
    may_have = (_BEST_COMPRESSION, _LONGEST, oid)
    if not scratch.execute(_MAY_HAVE_LONG, may_have).fetchall()[0][0]:
        return None
    ((source,),) = scratch.execute(_SOURCE, (oid,)).fetchall()
    ((schema,),) = target.execute(_SCHEMA, (into,)).fetchall()
    columns = _columns(scratch, target, oid, into)
    if columns is None:
        return None
    scratch.execute(_view(source, columns).encode(*AS_BYTES))
    scratch.execute(_VALUES_MADE.encode(*AS_BYTES))
    return LongRows(scratch, target, columns, into, f"{schema}.three_backup_")


def _columns(
    scratch: "Connection", target: "Connection", oid: int, into: str
) -> list[_Column] | None:
    """Return the columns; None where a value would pass a cast that somebody wrote."""
    there = target.execute(_TAKEN_AS, (into,)).fetchall()
    taken_as: dict[str, str] = {name: kind for name, kind, _ in there}
    cast = {name for name, _, is_cast in there if is_cast}
    columns = []
    found = scratch.execute(_COLUMNS, {"oid": oid}).fetchall()
    for number, (name, kind, send, varies, has_length, is_alike, is_cast) in enumerate(found):
        length = "0"
        if varies:
            known = f"octet_length({name})"
            length = known if has_length else f"pg_column_size({name}) * {_ASSUMED_COMPRESSION}"
        if is_alike and kind == taken_as[name]:
            sent, sent_as = f"{send}({name})", kind
        else:
            if is_cast or name in cast:
                return None
            sent, sent_as = f"textsend({name}::text)", "text"
        columns.append(_Column(number, name, taken_as[name], length, sent, sent_as))
    return columns


def _view(source: str, columns: Sequence[_Column]) -> str:
    lengths = [f"coalesce({column.length}, 0)::int8" for column in columns]
    values = [f"{column.name} AS {column.value}" for column in columns]
    sent = [f"{column.sent} AS sent{column.number}" for column in columns]
    return f"""
        DROP VIEW IF EXISTS {_ROWS};
        CREATE TEMP VIEW three_backup_rows AS
        SELECT ctid AS place, {" + ".join(lengths)} AS length,
               ARRAY[{", ".join(lengths)}] AS lengths, {", ".join((*values, *sent))}
          FROM ONLY {source}"""  # noqa: S608


@contextmanager
def _as_bytes(scratch: "Connection", target: "Connection") -> Iterator[None]:
    """Have text sent as it is stored if the target stores it so: it may be longer in UTF-8."""
    ((stored,),), ((other,),) = scratch.execute(_ENCODING), target.execute(_ENCODING)
    if stored not in ("SQL_ASCII", other):
        yield
        return
    spoken = [
        connection.info.parameter_status("client_encoding") for connection in (scratch, target)
    ]
    for connection in (scratch, target):
        connection.execute("SET client_encoding = 'SQL_ASCII'")
    try:
        yield
    finally:
        scratch.execute(f"SET client_encoding = '{spoken[0]}'".encode(*AS_BYTES))
    target.execute(f"SET client_encoding = '{spoken[1]}'".encode(*AS_BYTES))
