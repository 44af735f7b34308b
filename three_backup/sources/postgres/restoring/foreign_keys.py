"""Takes foreign keys off in the scratch server, and adds them one by one in the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.restoring.as_owner import run_as
from three_backup.sources.postgres.restoring.family import Family
from three_backup.sources.postgres.restoring.target import attempt, refusal

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_FOREIGN_KEYS = """
SELECT k.conrelid::int8, quote_ident(k.conname), k.confrelid::int8, k.confrelid::regclass::text,
       pg_get_constraintdef(k.oid), quote_literal(obj_description(k.oid, 'pg_constraint')),
       ARRAY(SELECT attname::text FROM pg_attribute
              WHERE attrelid = k.conrelid AND attnum = ANY(k.conkey)),
       ARRAY(SELECT attname::text FROM pg_attribute
              WHERE attrelid = k.confrelid AND attnum = ANY(k.confkey))
  FROM pg_constraint k
 WHERE k.conrelid = ANY(%s::oid[]) AND k.contype = 'f' AND k.conparentid = 0
 ORDER BY 1, 2
"""
# Those that keep a partition from being detached: their rows refer to it.
_REFERRING = """
SELECT k.conrelid::regclass::text, quote_ident(k.conname)
  FROM pg_constraint k
 WHERE k.contype = 'f' AND k.conparentid = 0
   AND k.confrelid IN (SELECT a.relid FROM unnest(%s::oid[]) AS root,
                              pg_partition_ancestors(root::regclass) AS a WHERE a.relid <> root)
"""
# The rows are compared by operators and casts, which may be those of a type's owner.
_OWNER = """
SELECT pg_get_userbyid(relowner)::text, relowner <> current_user::regrole AND EXISTS (
         SELECT FROM pg_attribute a WHERE a.atttypid >= 16384 AND NOT a.attisdropped
            AND (a.attrelid = c.oid AND a.attname = ANY(%(columns)s)
                 OR a.attrelid = to_regclass(%(referenced)s) AND a.attname = ANY(%(keys)s)))
  FROM pg_class c WHERE c.oid = to_regclass(%(table)s)
"""
_RELATION_NAME = "SELECT %s::oid::regclass::text"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key that was taken off."""

    table: int  # oid
    name: str  # quoted
    referenced: int  # oid of the table that it refers to
    before: str  # the definition up to the name of that table
    after: str  # the definition after that name
    comment: str | None  # quoted
    columns: list[str]
    referenced_columns: list[str]

    def why_not_added(self, scratch: "Connection", target: "Connection") -> str | None:
        """Add it to the target; return None, or why the target refuses it.

        What compares the rows runs with the rights of the table's owner.
        """
        statement = self.statement(scratch)
        given = {
            "table": _name(scratch, self.table),
            "referenced": _name(scratch, self.referenced),
            "columns": self.columns,
            "keys": self.referenced_columns,
        }
        owner, runs_code = target.execute(_OWNER, given).fetchone() or ("", False)
        if not runs_code:
            return attempt(target, statement)
        query = f"{statement}; SELECT 0::bigint".encode(*AS_BYTES)
        return refusal(lambda: run_as(target, f"three_backup_{self.table}", owner, query))

    def statement(self, scratch: "Connection") -> str:
        """Return SQL to add it again, with the tables' present names in the scratch server."""
        table, referenced = _name(scratch, self.table), _name(scratch, self.referenced)
        definition = f"{self.before}{referenced}{self.after}"
        add = f"ALTER TABLE {table} ADD CONSTRAINT {self.name} {definition}"
        if self.comment is None:
            return add
        return f"{add}; COMMENT ON CONSTRAINT {self.name} ON {table} IS {self.comment}"


def take_off_foreign_keys(
    scratch: "Connection", families: Sequence[Family]
) -> dict[int, list[ForeignKey]]:
    """Take off what would tie the families to other tables; return their own by root (oid).

    What refers to the parent of a partition that comes back alone goes as well.
    """
    keys: dict[int, list[ForeignKey]] = {}
    for family in families:
        keys[family.root.oid] = []
        tables = [table.oid for table in family.tables]
        for table, name, referenced, referenced_name, definition, *others in scratch.execute(
            _FOREIGN_KEYS, (tables,)
        ).fetchall():
            before, words, after = definition.partition(f" REFERENCES {referenced_name}")
            before += words.removesuffix(referenced_name)
            key = ForeignKey(table, name, referenced, before, after, *others)
            keys[family.root.oid].append(key)
    for key in (key for own in keys.values() for key in own):
        _drop(scratch, _name(scratch, key.table), key.name)
    roots = [family.root.oid for family in families]
    for table, name in scratch.execute(_REFERRING, (roots,)).fetchall():
        _drop(scratch, table, name)
    return keys


def _name(scratch: "Connection", oid: int) -> str:
    ((name,),) = scratch.execute(_RELATION_NAME, (oid,)).fetchall()
    return str(name)


def _drop(scratch: "Connection", table: str, name: str) -> None:
    scratch.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode(*AS_BYTES))
