"""Writes the statements that turn the later state of tables into the earlier one.

An UPDATE and the DELETE of a row without a key touch only what is as it was seen: what somebody
has changed since then stays, and is there to be compared again. Rows go before others come, and
what refers to others goes first and comes last.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.comparing.different import Different
from three_backup.sources.postgres.comparing.shape import Column
from three_backup.sources.postgres.connection import quoted

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_BEGIN = b"""BEGIN;
SET LOCAL datestyle = ISO; SET LOCAL intervalstyle = postgres; SET LOCAL lc_monetary = 'C';
SET LOCAL timezone = 'UTC'; SET LOCAL xmloption = content; SET LOCAL bytea_output = hex;
SET LOCAL extra_float_digits = 3;
"""
_COMMIT = b"COMMIT;\n"
_TRIGGERS = """
SELECT coalesce(string_agg(DISTINCT quote_ident(tgname), ', '), '') FROM pg_catalog.pg_trigger
 WHERE tgrelid IN (SELECT {root} UNION SELECT relid FROM pg_catalog.pg_partition_tree({root}))
   AND NOT tgisinternal AND tgenabled IN ('O', 'A')
"""
_REFERENCES = """
SELECT confrelid::int8, conrelid::int8 FROM pg_catalog.pg_constraint
 WHERE contype = 'f' AND confrelid = ANY (%s::oid[]) AND conrelid = ANY (%s::oid[])
"""
_ANCESTORS = "SELECT relid::oid::int8 FROM pg_catalog.pg_partition_ancestors(%s::oid::regclass)"
# As CSV, whose only trace are quotes around a statement that has line breaks.
_WRITTEN = """
COPY (SELECT {statement} FROM {different} WHERE {chosen}{order})
  TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
"""
_QUOTE = b"\x01"
_DELETE = "'DELETE FROM {only} WHERE ' || {where} || ';'"
_DELETE_SOME = (
    "'DELETE FROM {only} WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM {only} WHERE ' || "
    "{where} || ' LIMIT ' || added || ');'"
)
_UPDATE = "'UPDATE {only} SET ' || {sets} || ' WHERE ' || {where} || ' AND ' || {seen} || ';'"
_INSERT = "'INSERT INTO {into} {overriding}VALUES (' || {values} || ');'"
_COMPARES = """
SELECT value IS NOT DISTINCT FROM value
  FROM (VALUES (1)) AS one LEFT JOIN (SELECT {column} AS value FROM {scanned} LIMIT 1) AS t ON true
"""


def repair(tables: Sequence[Different]) -> Iterator[bytes]:
    """Yield a transaction. The tables are of one database."""
    differ = _not_within_others([table for table in tables if table.counts().any])
    ordered = _referred_first([table for table in differ if not table.is_view])
    yield _BEGIN
    for table in ordered:
        yield from _told(table)
    for table in reversed(ordered):
        yield from _Statements(table).deleting()
    for table in ordered:
        yield from _Statements(table).updating()
    for table in ordered:
        yield from _Statements(table).inserting()
    for view in (table for table in differ if table.is_view):
        yield f"REFRESH MATERIALIZED VIEW {view.earlier.name};\n".encode(*AS_BYTES)
    yield _COMMIT


class _Statements:
    """The statements of a table, each written by SQL on the scratch server."""

    def __init__(self, table: Different) -> None:
        self._table = table
        self._keyed = bool(table.common.key)

    def deleting(self) -> Iterator[bytes]:
        if self._keyed:
            return self._written(_DELETE, "added > 0 AND removed = 0", where=self._by_key())
        seen = self._joined(" AND ", map(self._seen, self._table.common.columns))
        return self._written(_DELETE_SOME, "added > 0", where=seen)

    def updating(self) -> Iterator[bytes]:
        key = self._table.common.key
        others = [column for column in self._table.common.columns if column.name not in key]
        if not self._keyed or not others:
            return iter(())
        return self._written(
            _UPDATE,
            "added > 0 AND removed > 0",
            sets=self._joined(", ", (self._if_other(c, self._set(c)) for c in others)),
            where=self._by_key(),
            seen=self._joined(" AND ", (self._if_other(c, self._seen(c)) for c in others)),
        )

    def inserting(self) -> Iterator[bytes]:
        common = self._table.common
        always = any(column.always_generated for column in common.columns)
        return self._written(
            _INSERT,
            "removed > 0 AND added = 0" if self._keyed else "removed > 0",
            into=_inside(f"{self._table.earlier.name} ({common.listed()})"),
            overriding="OVERRIDING SYSTEM VALUE " if always else "",
            values=self._joined(", ", (_literal("earlier", name) for name in common.names)),
        )

    def _written(self, statement: str, chosen: str, **parts: str) -> Iterator[bytes]:
        """Yield a statement for each chosen row."""
        key = ", ".join(
            f"coalesce((later).{name}, (earlier).{name})"
            for name in map(quoted, self._table.common.key)
        )
        text = _WRITTEN.format(
            statement=statement.format(only=_inside(self._table.earlier.scanned), **parts),
            different=self._table.table,
            chosen=chosen,
            order=f" ORDER BY {key}" if key else "",
        )
        with self._table.scratch.cursor() as cursor, cursor.copy(text.encode(*AS_BYTES)) as lines:
            yield from (_unquoted(bytes(line)) for line in lines)  # each is a whole statement

    def _by_key(self) -> str:
        """Return SQL that writes a condition: the row has the key."""
        return self._joined(
            " AND ",
            (
                f"'{_inside(quoted(name))} = ' || {_literal('later', name)}"
                for name in self._table.common.key
            ),
        )

    def _seen(self, column: Column) -> str:
        """Return SQL that writes a condition: the column is as it was seen."""
        name = _inside(quoted(column.name))
        compared = name if self._compares(column) else f"{name}::text"
        return f"'{compared} IS NOT DISTINCT FROM ' || {_literal('later', column.name)}"

    @staticmethod
    def _set(column: Column) -> str:
        return f"'{_inside(quoted(column.name))} = ' || {_literal('earlier', column.name)}"

    @staticmethod
    def _if_other(column: Column, written: str) -> str:
        then, now = _literal("earlier", column.name), _literal("later", column.name)
        return f"CASE WHEN {then} <> {now} THEN {written} END"

    @staticmethod
    def _joined(between: str, parts: Iterable[str]) -> str:
        """Return SQL that joins what is not null. A call would take no more than 100 parts."""
        return f"array_to_string(ARRAY[{', '.join(parts)}]::text[], '{between}')"

    def _compares(self, column: Column) -> bool:
        """Return whether values of the type can be compared: json, for one, cannot."""
        scanned = self._table.earlier.scanned
        statement = _COMPARES.format(column=quoted(column.name), scanned=scanned)
        try:
            self._table.scratch.execute(statement.encode(*AS_BYTES))
        except BackupError:
            return False
        return True


def _unquoted(line: bytes) -> bytes:
    if not line.startswith(_QUOTE):
        return line
    return line.rstrip(b"\n")[1:-1].replace(_QUOTE * 2, _QUOTE) + b"\n"


def _told(table: Different) -> Iterator[bytes]:
    """Yield comments: what the statements do to a table, and what happens beside."""
    counts, name = table.counts(), table.earlier.name
    parts = {"deletes": counts.added, "changes": counts.changed or 0, "inserts": counts.removed}
    does = ", ".join(f"{what} {number}" for what, number in parts.items() if number)
    yield f"-- {_one_line(name)}: {does}\n".encode(*AS_BYTES)
    text = _TRIGGERS.format(root=f"{table.earlier.oid}::oid")
    ((triggers,),) = table.scratch.execute(text.encode()).fetchall()
    if triggers:
        sentence = (
            f"-- its triggers fire: {_one_line(triggers)}; for a superuser they keep silent, and "
            "foreign keys unchecked, after SET LOCAL session_replication_role = replica\n"
        )
        yield sentence.encode(*AS_BYTES)


def _not_within_others(tables: Sequence[Different]) -> list[Different]:
    """Leave out partitions of tables that are there as well."""
    oids = {table.earlier.oid for table in tables}
    return [table for table in tables if oids.isdisjoint(_ancestors(table))]


def _ancestors(table: Different) -> set[int]:
    found = table.scratch.execute(_ANCESTORS, (table.earlier.oid,)).fetchall()
    return {oid for (oid,) in found} - {table.earlier.oid}


def _referred_first(tables: Sequence[Different]) -> Sequence[Different]:
    """Put tables behind those that they refer to, as far as these do not refer back."""
    by_oid: Mapping[int, Different] = {table.earlier.oid: table for table in tables}
    if not tables:
        return []
    scratch: Connection = tables[0].scratch
    oids = list(by_oid)
    found = scratch.execute(_REFERENCES, (oids, oids)).fetchall()
    order: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(oids, ()))
    for referred, referring in found:
        if referred != referring:
            order.add(referring, referred)
    try:
        return [by_oid[oid] for oid in order.static_order()]
    except CycleError:
        return list(tables)


def _literal(side: str, name: str) -> str:
    """Return SQL that writes a column of a side as a literal, by the type's own function."""
    return f"format('%L', ({side}).{quoted(name)})"


def _inside(text: str) -> str:
    """Return text for the inside of a literal."""
    return text.replace("'", "''")


def _one_line(text: str) -> str:
    return " ".join(text.split())
