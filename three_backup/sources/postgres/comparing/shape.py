"""The shape of a relation: its columns as they are compared, and its key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.connection import quoted

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_RELATION = """
SELECT c.oid::int8, c.relkind::text, c.relpersistence <> 'u' AND c.relispopulated
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
"""
# What is generated follows from the other columns, and by functions of whoever owns the table.
_COLUMNS = """
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       CASE WHEN base.oid < 16384 THEN pg_catalog.format_type(base.oid, NULL) END,
       a.attidentity = 'a', pg_catalog.array_position(k.indkey::int2[], a.attnum)
  FROM pg_catalog.pg_attribute a
 CROSS JOIN LATERAL (
   WITH RECURSIVE base (oid, of) AS (
     SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
      UNION ALL
     SELECT t.oid, t.typbasetype FROM base JOIN pg_catalog.pg_type t ON t.oid = base.of)
   SELECT oid FROM base WHERE of = 0) AS base
  LEFT JOIN pg_catalog.pg_index k ON k.indrelid = a.attrelid AND k.indisprimary
 WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum
"""
_STORED = ("r", "p", "m")
_WHOLE_TREE = ("p", "m")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str  # as SQL names it
    base: str | None = None  # the type that a domain is of; None: one of users
    always_generated: bool = False  # an identity that only OVERRIDING SYSTEM VALUE sets
    place_in_key: int | None = None  # None: not part of the primary key


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns and kind of a relation on one side."""

    object: ObjectId
    oid: int
    kind: str  # pg_class's relkind
    filled: bool  # whether a snapshot has rows of it at all
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        return f"{quoted(self.object.level2)}.{quoted(self.object.level3)}"

    @property
    def scanned(self) -> str:
        """What follows FROM; other tables may inherit from a plain one, and are tables of their
        own.
        """
        return self.name if self.kind in _WHOLE_TREE else f"ONLY {self.name}"

    @property
    def has_rows(self) -> bool:
        """Whether its rows are its own, and in snapshots."""
        return self.kind in _STORED and self.filled

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, in its order."""
        placed = ((c.place_in_key, c.name) for c in self.columns if c.place_in_key is not None)
        return tuple(name for _, name in sorted(placed))


def read_shape(connection: "Connection", object_id: ObjectId) -> Shape | None:
    """Return the shape of a relation; None if it is not there."""
    found = connection.execute(_RELATION, (object_id.level2, object_id.level3)).fetchone()
    if found is None:
        return None
    columns = (Column(*row) for row in connection.execute(_COLUMNS, (found[0],)).fetchall())
    oid, kind, filled = found
    return Shape(object_id, oid, kind, filled, tuple(columns))


@dataclass(frozen=True, slots=True)
class Common:
    """The columns that both sides of a relation have."""

    columns: tuple[Column, ...]  # as the earlier side has them
    key: tuple[str, ...]  # empty: rows are told apart by all that is in them
    ordered: Mapping[str, str]  # the types of columns of the key that order it; else it is text

    @classmethod
    def of(cls, earlier: Shape, later: Shape) -> "Common":
        there = {column.name: column for column in later.columns}
        columns = tuple(column for column in earlier.columns if column.name in there)
        key = earlier.key if earlier.key == later.key else ()
        ordered = {
            column.name: column.base
            for column in columns
            if column.name in key and column.base and column.base == there[column.name].base
        }
        return cls(columns, key, ordered)

    @property
    def names(self) -> Sequence[str]:
        return [column.name for column in self.columns]

    def listed(self) -> str:
        """Return the columns as SQL lists them."""
        return ", ".join(map(quoted, self.names))
