"""Loads a staged family into the live target, in one transaction.

Everything is made in the stage's schemas, filled, checked, and moved into place at the end, when
what it replaces is dropped. Until the commit nobody sees any of it; a failure, a lost connection
or SIGKILL leaves the target as it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import psycopg

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted, said
from three_backup.sources.postgres.restoring.as_owner import evaluates_code, run_as
from three_backup.sources.postgres.restoring.copying import all_arrived, copy_rows
from three_backup.sources.postgres.restoring.dependents import depended_on
from three_backup.sources.postgres.restoring.family import (
    MATERIALIZED_VIEW,
    SEQUENCE,
    VIEWS,
    Family,
    FamilyPart,
)
from three_backup.sources.postgres.restoring.naming_values import translated
from three_backup.sources.postgres.restoring.search_path import SourcePath
from three_backup.sources.postgres.restoring.staging import Membership, Staged
from three_backup.sources.postgres.restoring.target import Existing, attempt, refusal

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_IS_POPULATED = "SELECT relispopulated FROM pg_class WHERE oid = %s::oid"
_PARENT = """
SELECT oid::int8, pg_get_userbyid(relowner)::text, relowner <> current_user::regrole
  FROM pg_class WHERE oid = to_regclass(%s)
"""
_OWNER = """
SELECT oid::int8, pg_get_userbyid(relowner)::text, relowner <> current_user::regrole
  FROM pg_class WHERE oid = %s::regclass
"""
# What is made of domains is text meanwhile: they would be checked as soon as the rows come.
_PLAIN_COLUMNS = """
WITH RECURSIVE made_of (attnum, oid) AS (
  SELECT attnum, atttypid FROM pg_attribute WHERE attrelid = %(name)s::regclass
   UNION
  SELECT m.attnum, part.oid
    FROM made_of m JOIN pg_type t ON t.oid = m.oid
    LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    LEFT JOIN pg_attribute a ON a.attrelid = t.typrelid AND NOT a.attisdropped
    CROSS JOIN LATERAL (VALUES (t.typelem), (r.rngsubtype), (a.atttypid)) AS part (oid)
   WHERE part.oid <> 0
)
SELECT quote_ident(attname), format_type(atttypid, atttypmod),
       EXISTS (SELECT FROM made_of m JOIN pg_type t ON t.oid = m.oid AND t.typtype = 'd'
                WHERE m.attnum = c.attnum)
  FROM pg_attribute c
 WHERE attrelid = %(name)s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
 ORDER BY attnum
"""
_INSERT = """
WITH filled AS (INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} RETURNING 1)
SELECT count(*) FROM filled
"""
_TURN_INTO = "UPDATE pg_class SET relkind = %s, relispopulated = true WHERE oid = %s::regclass"
_PATIENCE = "60s"
"""How long the last step waits for users of what it replaces; later users wait behind it."""


@dataclass(frozen=True, slots=True)
class _Filling:
    """A family that is filled in its stage."""

    scratch: "Connection"
    target: "Connection"
    staged: Staged
    group: Sequence[Staged]  # what comes back with it, and itself
    as_owner: bool
    notes: list[str] = field(default_factory=list)


def load(
    scratch: "Connection",
    target: "Connection",
    staged: Staged,
    group: Sequence[Staged],
    *,
    as_owner: bool,
) -> tuple[dict[int, int], list[str]]:
    """Fill the family in its stage; return rows by table oid, and notes.

    group: what comes back with it. as_owner: the owners made the tables and alone write to them,
    whatever these evaluate.
    """
    rows, filling = {}, _Filling(scratch, target, staged, group, as_owner)
    for table in staged.family.tables:
        if table.kind == "r":
            rows[table.oid] = _fill(filling, table)
        elif table.kind == MATERIALIZED_VIEW:
            rows[table.oid] = _fill_view(filling, table)
    for part in staged.family.parts:
        if part.kind == SEQUENCE:
            copy_sequence(scratch, target, part.oid, staged.name(part))
    return rows, filling.notes


def clear_way(target: "Connection", doomed: Sequence[tuple[Family, Existing]]) -> None:
    """Drop what is replaced: views in reverse order of the restore, then all tables together."""
    with _patience(target):
        for pair in reversed(doomed):
            if pair[1].kind in VIEWS:
                _drop(target, [pair])
        tables = [pair for pair in doomed if pair[1].kind not in VIEWS]
        for _, alike in groupby(sorted(tables, key=_dropped_as), key=_dropped_as):
            _drop(target, list(alike))


def put_in_place(target: "Connection", staged: Staged) -> None:
    """Move the loaded family to its final place."""
    with _patience(target):
        for schema in {part.target.schema for part in staged.family.members}:
            target.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}".encode(*AS_BYTES))
        for statement in staged.placements():
            target.execute(statement.encode(*AS_BYTES))


def copy_sequence(scratch: "Connection", target: "Connection", oid: int, copy: str) -> None:
    """Set the copy to the state of the sequence of that oid."""
    (name,) = scratch.execute("SELECT %s::oid::regclass::text", (oid,)).fetchall()[0]
    state = scratch.execute(f"TABLE {name}".encode(*AS_BYTES)).fetchall()[0]
    last_value, _, is_called = state
    target.execute("SELECT setval(%s::regclass, %s, %s)", (copy, last_value, is_called))


def join_again(
    target: "Connection", path: SourcePath, staged: Staged, doomed: Existing | None
) -> list[str]:
    """Attach the root to its parents again, unless it has another name now.

    Returns a note for each parent that is lost. Raises BackupError where an attachment fails and
    the family replaces something.
    """
    root, notes = staged.family.root, []
    for membership in staged.memberships:
        if not staged.family.in_place:
            notes.append(f"it stands alone, not as a part of {membership.parent}")
            continue
        name = f"{quoted(root.target.schema)}.{quoted(root.target.name)}"
        why_not = _why_not_attached(target, path, staged, membership, name)
        if why_not is not None and doomed is not None:
            raise BackupError(
                "postgres.not_a_part",
                f"{staged.family.target}: it cannot be a part of {membership.parent} again "
                f"({why_not})",
                "restore beside it (--level3-suffix _restored)",
            )
        if why_not is not None:
            notes.append(f"it stands alone, not as a part of {membership.parent}: {why_not}")
    return notes


def _why_not_attached(
    target: "Connection", path: SourcePath, staged: Staged, to: Membership, name: str
) -> str | None:
    """Attach the root; where the key of the parent runs code of its owner, as that owner."""
    statement = to.statement(name)
    row = target.execute(_PARENT, (to.parent,)).fetchone()
    if row is None or not row[2] or not evaluates_code(target, row[0]):
        return attempt(target, statement)
    query = f"{statement}; SELECT 0::bigint".encode(*AS_BYTES)
    return refusal(lambda: path.helps(partial(run_as, target, staged.prefix, row[1], query)))


def _fill(filling: _Filling, table: FamilyPart) -> int:
    """Copy the rows; by way of a table without code, where loading them runs code of the owner."""
    target, name = filling.target, filling.staged.name(table)
    ((oid, owner, is_other),) = target.execute(_OWNER, (name,))
    if not (is_other and (filling.as_owner or evaluates_code(target, oid))):
        return _copy(filling, table, name)
    return all_arrived(table, *_fill_as(owner, filling, table))


def _fill_as(owner: str, filling: _Filling, table: FamilyPart) -> tuple[int, int]:
    """Return how many rows were copied, and how many of these the owner could insert."""
    target, staged = filling.target, filling.staged
    name, schema = staged.name(table), staged.schema(table)
    aside = f"{quoted(schema)}.three_backup_rows"
    columns = target.execute(_PLAIN_COLUMNS, {"name": name}).fetchall()
    plain = ", ".join(f"{own} {'text' if made else kind}" for own, kind, made in columns)
    target.execute(f"CREATE UNLOGGED TABLE {aside} ({plain})".encode(*AS_BYTES))
    copied = _copy(filling, table, aside)
    target.execute(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(owner)}".encode(*AS_BYTES))
    target.execute(f"GRANT SELECT ON {aside} TO {quoted(owner)}".encode(*AS_BYTES))
    names = ", ".join(own for own, _, _ in columns)
    values = ", ".join(f"{own}::{kind}" if made else own for own, kind, made in columns)
    insert = _INSERT.format(name, names, values, aside).encode(*AS_BYTES)
    filled = run_as(target, staged.prefix, owner, insert)
    target.execute(f"DROP TABLE {aside}".encode(*AS_BYTES))
    return copied, filled


def _copy(filling: _Filling, table: FamilyPart, into: str) -> int:
    scratch, target = filling.scratch, filling.target
    selected = translated(scratch, target, filling.group, table, filling.notes)
    return copy_rows(scratch, target, table, into, selected)


def _fill_view(filling: _Filling, view: FamilyPart) -> int:
    """Copy the rows that the view had; a REFRESH would make new ones from today's tables.

    Rows can be copied into tables only, so the view is a table for a moment of our transaction.
    Only a superuser may do that; for others the view is refreshed, with a note.
    """
    target = filling.target
    if not filling.scratch.execute(_IS_POPULATED, (view.oid,)).fetchall()[0][0]:
        return 0
    into = filling.staged.name(view)
    try:
        with target.transaction():
            target.execute(_TURN_INTO, ("r", into))
            rows = _fill(filling, view)
            target.execute(_TURN_INTO, (MATERIALIZED_VIEW, into))
            return rows
    except psycopg.errors.InsufficientPrivilege:
        filling.notes.append(
            "its rows are those of today's tables: only a superuser can copy the old ones"
        )
        target.execute(f"REFRESH MATERIALIZED VIEW {into}".encode(*AS_BYTES))
        return target.execute(f"TABLE {into}".encode(*AS_BYTES)).rowcount


@contextmanager
def _patience(target: "Connection") -> Iterator[None]:
    target.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'".encode(*AS_BYTES))
    yield
    target.execute("SET LOCAL lock_timeout = 0")


def _dropped_as(pair: tuple[Family, Existing]) -> str:
    return pair[1].dropped_as


def _drop(target: "Connection", alike: Sequence[tuple[Family, Existing]]) -> None:
    """Drop relations of one kind in one command, so that they may depend on one another."""
    roots = [family.root.target for family, _ in alike]
    names = ", ".join(f"{quoted(root.schema)}.{quoted(root.name)}" for root in roots)
    about = alike[0][0].target
    try:
        target.execute(f"DROP {_dropped_as(alike[0])} {names} RESTRICT".encode(*AS_BYTES))
    except psycopg.errors.DependentObjectsStillExist as error:
        named = said(error, "message_detail").splitlines()
        raise depended_on(about, named) from error
    except psycopg.errors.LockNotAvailable as error:
        raise BackupError(
            "postgres.in_use",
            f"{about}: it cannot be replaced, somebody used it for {_PATIENCE} on end",
            "try again when it is idle; pg_locks says who holds it",
        ) from error
