"""Copies large objects: rows hold only their numbers, so those the target lacks are copied too.

A large object that the target has is left as it is: other rows may name it.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.restoring.family import Family
from three_backup.sources.postgres.restoring.ownership import Giving
from three_backup.sources.postgres.restoring.things import thing_of_large_object

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# The type lo, of the extension lo, is a domain over oid.
_COLUMNS = """
SELECT format('SELECT %%I::oid FROM %%s', a.attname, c.oid::regclass)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
 WHERE c.oid = ANY(%s::oid[]) AND c.relkind IN ('r', 'm') AND c.relispopulated
   AND a.attnum > 0 AND NOT a.attisdropped
   AND 'oid'::regtype IN (t.oid, CASE WHEN t.typtype = 'd' THEN t.typbasetype END)
"""
_NAMED = """
SELECT m.oid::int8 FROM pg_largeobject_metadata m JOIN ({}) AS named (number) ON m.oid = number
"""
_MISSING = """
SELECT number::int8 FROM unnest(%s::oid[]) AS number
 WHERE NOT EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = number)
"""
_MANY = 1000
_PIECE = 1 << 20


def copy_large_objects(
    scratch: "Connection", target: "Connection", family: Family, giving: Giving
) -> int:
    """Copy the ones that the family's rows name and the target lacks; return how many."""
    copied = 0
    for numbers in _named(scratch, [table.oid for table in family.tables]):
        lacking = [number for (number,) in target.execute(_MISSING, (numbers,)).fetchall()]
        for number in lacking:
            _copy(scratch, target, number)
        things = [thing_of_large_object(number) for number in lacking]
        giving.own(things)
        giving.grant(things)
        copied += len(lacking)
    return copied


def _named(scratch: "Connection", tables: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of large objects in columns of type oid, in batches."""
    columns = [query for (query,) in scratch.execute(_COLUMNS, (list(tables),))]
    if not columns:
        return
    with scratch.transaction(), scratch.cursor("large_objects") as cursor:
        cursor.execute(_NAMED.format(" UNION ".join(columns)).encode(*AS_BYTES))
        while rows := cursor.fetchmany(_MANY):
            yield [number for (number,) in rows]


def _copy(scratch: "Connection", target: "Connection", number: int) -> None:
    target.execute("SELECT lo_create(%s::oid)", (number,))
    offset, length = 0, _PIECE
    while length == _PIECE:
        query = "SELECT lo_get(%s::oid, %s, %s)"
        ((piece,),) = scratch.execute(query, (number, offset, _PIECE)).fetchall()
        target.execute("SELECT lo_put(%s::oid, %s, %s)", (number, offset, piece))
        offset, length = offset + len(piece), len(piece)
