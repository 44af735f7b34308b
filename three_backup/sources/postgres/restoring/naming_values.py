"""Values that name objects: regclass, regtype, regproc and their like.

Such a value is the number of what it names, which is another one in the target. It comes back as
the number that its name has there: that of the staged table, where it names a table that is just
being restored.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import FamilyPart
from three_backup.sources.postgres.restoring.staging import Staged

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# Columns, and what they are in the end: domains are followed to their type, arrays to the element.
_COLUMNS = """
WITH RECURSIVE base (attnum, typid, is_array) AS (
  SELECT attnum, atttypid, false FROM pg_attribute
   WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
   UNION ALL
  SELECT b.attnum, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
         b.is_array OR t.typtype <> 'd'
    FROM base b JOIN pg_type t ON t.oid = b.typid
   WHERE t.typtype = 'd' OR t.typcategory = 'A' AND t.typelem <> 0
)
SELECT a.attname::text, r.typname::text, bool_or(b.is_array)
  FROM pg_attribute a
  LEFT JOIN base b ON b.attnum = a.attnum
   AND b.typid IN (SELECT oid FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
                      AND typname ~ '^reg' AND typtype = 'b' AND typcategory = 'N')
  LEFT JOIN pg_type r ON r.oid = b.typid
 WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 GROUP BY a.attnum, a.attname, r.typname ORDER BY a.attnum
"""
_NUMBERED = r"'^\d+$'"  # what it named was gone at the source
_FOUND = """
SELECT value::oid::int8, value::text, coalesce(nullif(y.typrelid, 0), e.typrelid, 0)::int8,
       count(*)
  FROM {source} AS t, LATERAL {values} AS found (value)
  LEFT JOIN pg_type y ON y.oid = value::oid AND '{type}' = 'regtype'
  LEFT JOIN pg_type e ON e.oid = y.typelem AND y.typcategory = 'A'
 WHERE value IS NOT NULL AND value::oid <> 0 AND value::text !~ {numbered} GROUP BY 1, 2, 3
"""
_SOURCE = "SELECT %s::oid::regclass::text"
_HERE = "SELECT {}::oid::int8 FROM unnest(%s::text[]) AS name"
_TEXT_SEARCH = {
    "regconfig": "(SELECT oid FROM pg_ts_config WHERE oid::regconfig::text = name)",
    "regdictionary": "(SELECT oid FROM pg_ts_dict WHERE oid::regdictionary::text = name)",
}
_MAP = """
CREATE TEMP TABLE IF NOT EXISTS three_backup_names
  (type text, here oid, there oid, PRIMARY KEY (type, here))
"""
_ADD = """
INSERT INTO three_backup_names VALUES (%s, %s::oid, %s::oid)
    ON CONFLICT (type, here) DO UPDATE SET there = excluded.there
"""
_SINGLE = """
coalesce((SELECT there FROM three_backup_names WHERE type = '{type}' AND here = {value}::oid),
         {value}::oid)
"""
_ARRAY = """
CASE WHEN array_ndims({value}) > 1 THEN {value}::oid[]
     WHEN {value} IS NOT NULL
     THEN ARRAY(SELECT coalesce(m.there, v::oid)
                  FROM unnest({value}) WITH ORDINALITY AS u (v, n)
                  LEFT JOIN three_backup_names m ON m.type = '{type}' AND m.here = v::oid
                 ORDER BY n)
END
"""
_LATER = ("i", "I", "statistics")
"""Indexes and statistics are made after the rows."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Column:
    name: str  # quoted
    type: str | None  # as `regclass`; None if its values are no such names
    is_array: bool


def translated(
    scratch: "Connection",
    target: "Connection",
    group: Sequence[Staged],
    table: FamilyPart,
    notes: list[str],
) -> str | None:
    """Return what to select from the table, named `t`, in the scratch server.

    None if no column has such values. Adds a note for each column that names what is not there.
    """
    columns = [
        _Column(quoted(name), kind, bool(is_array))
        for name, kind, is_array in scratch.execute(_COLUMNS, (table.oid, table.oid))
    ]
    if all(column.type is None for column in columns):
        return None
    scratch.execute(_MAP)
    ((source,),) = scratch.execute(_SOURCE, (table.oid,)).fetchall()
    own = _own(group)
    for column in columns:
        if column.type is not None:
            lost = _translate(scratch, target, own, column, source)
            notes += _notes(column, lost)
    return ", ".join(map(_selected, columns))


def _notes(column: _Column, lost: Mapping[str, int]) -> Iterator[str]:
    if lost:
        names = ", ".join(sorted(lost)[:_SHOWN]) + (", …" if len(lost) > _SHOWN else "")
        yield (
            f"{sum(lost.values())} values of column {column.name} name nothing now: there is no "
            f"{names} here"
        )


def _own(group: Sequence[Staged]) -> dict[int, str]:
    """Return the staged names of what the group is made of, by oid; empty if not yet there."""
    return {
        part.oid: staged.name(part) if part.kind not in _LATER else ""
        for staged in group
        for part in staged.family.members
    }


def _translate(
    scratch: "Connection",
    target: "Connection",
    own: Mapping[int, str],
    column: _Column,
    source: str,
) -> dict[str, int]:
    """Note the numbers that the values of a column have in the target.

    Returns what is not there, and how many values name it.
    """
    values = f"unnest(t.{column.name})" if column.is_array else f"(SELECT t.{column.name})"
    query = _FOUND.format(source=source, values=values, type=column.type, numbered=_NUMBERED)
    found = scratch.execute(query.encode(*AS_BYTES)).fetchall()
    names = [_name(str(column.type), row, own) for row in found]
    here = _TEXT_SEARCH.get(str(column.type), f"to_{column.type}(name)")
    numbers = target.execute(_HERE.format(here).encode(*AS_BYTES), (names,)).fetchall()
    lost = {}
    for (oid, name, _, count), (number,) in zip(found, numbers, strict=True):
        scratch.execute(_ADD, (column.type, oid, number or 0))
        if number is None:
            lost[str(name)] = int(count)
    return lost


def _name(kind: str, row: tuple[int, str, int, int], own: Mapping[int, str]) -> str | None:
    """Return how the target calls what the value names; None if that is not there yet."""
    oid, name, row_type_of, _ = row
    if kind == "regclass" and oid in own:
        return own[oid] or None
    if kind == "regtype" and row_type_of in own:
        return own[row_type_of] + ("[]" if name.endswith("[]") else "")
    return name


def _selected(column: _Column) -> str:
    """Return an expression; of the several dimensions of an array only one is translated."""
    value = f"t.{column.name}"
    if column.type is None:
        return value
    selected = _ARRAY if column.is_array else _SINGLE
    return selected.format(value=value, type=column.type)
