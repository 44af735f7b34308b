"""Loads a staged family into the live target, in one transaction.

Everything is made in the stage's schemas, filled, checked, and moved into place at the end, when
what it replaces is dropped. Until the commit nobody sees any of it; a failure, a lost connection
or SIGKILL leaves the target as it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import psycopg

from three_backup.errors import BackupError
from three_backup.sources.postgres.connection import quoted
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
from three_backup.sources.postgres.restoring.staging import Membership, Staged
from three_backup.sources.postgres.restoring.target import Existing, attempt

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_IS_POPULATED = "SELECT relispopulated FROM pg_class WHERE oid = %s::oid"
_PARENT = """
SELECT oid::int8, pg_get_userbyid(relowner)::text, relowner <> current_user::regrole
  FROM pg_class WHERE oid = to_regclass(%s)
"""
_OWNER = """
SELECT pg_get_userbyid(relowner)::text, relowner <> current_user::regrole
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


def load(
    scratch: "Connection", target: "Connection", staged: Staged, *, as_owner: bool
) -> tuple[dict[int, int], list[str]]:
    """Fill the family in its stage; return rows by table oid, and notes.

    as_owner: the owners made the tables and alone write to them, whatever these evaluate.
    """
    rows, notes = {}, list[str]()
    for table in staged.family.tables:
        if table.kind == "r":
            rows[table.oid] = _fill(scratch, target, staged, table, as_owner=as_owner)
        elif table.kind == MATERIALIZED_VIEW:
            rows[table.oid] = _fill_view(scratch, target, staged, table, notes, as_owner=as_owner)
    for part in staged.family.parts:
        if part.kind == SEQUENCE:
            copy_sequence(scratch, target, part.oid, staged.name(part))
    return rows, notes


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
            target.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}".encode())
        for statement in staged.placements():
            target.execute(statement.encode())


def copy_sequence(scratch: "Connection", target: "Connection", oid: int, copy: str) -> None:
    """Set the copy to the state of the sequence of that oid."""
    (name,) = scratch.execute("SELECT %s::oid::regclass::text", (oid,)).fetchall()[0]
    state = scratch.execute(f"TABLE {name}".encode()).fetchall()[0]
    last_value, _, is_called = state
    target.execute("SELECT setval(%s::regclass, %s, %s)", (copy, last_value, is_called))


def join_again(
    scratch: "Connection", target: "Connection", staged: Staged, doomed: Existing | None
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
        why_not = _why_not_attached(scratch, target, staged, membership, name)
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
    scratch: "Connection", target: "Connection", staged: Staged, to: Membership, name: str
) -> str | None:
    """Attach the root; where the key of the parent runs code of its owner, as that owner."""
    statement = to.statement(name)
    row = target.execute(_PARENT, (to.parent,)).fetchone()
    if row is None or not row[2] or not evaluates_code(target, row[0]):
        return attempt(target, statement)
    try:
        run_as(scratch, target, staged.prefix, row[1], f"{statement}; SELECT 0::bigint".encode())
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise
        return error.diag.message_primary or str(error)
    return None


def _fill(
    scratch: "Connection",
    target: "Connection",
    staged: Staged,
    table: FamilyPart,
    *,
    as_owner: bool,
) -> int:
    """Copy the rows; by way of a table without code, where loading them runs code of the owner."""
    name = staged.name(table)
    ((owner, is_other),) = target.execute(_OWNER, (name,))
    if not (is_other and (as_owner or evaluates_code(scratch, table.oid))):
        return copy_rows(scratch, target, table, name)
    return all_arrived(table, *_fill_as(owner, scratch, target, staged, table))


def _fill_as(
    owner: str, scratch: "Connection", target: "Connection", staged: Staged, table: FamilyPart
) -> tuple[int, int]:
    """Return how many rows were copied, and how many of these the owner could insert."""
    name, schema = staged.name(table), staged.schema(table)
    aside = f"{quoted(schema)}.three_backup_rows"
    columns = target.execute(_PLAIN_COLUMNS, {"name": name}).fetchall()
    plain = ", ".join(f"{own} {'text' if made else kind}" for own, kind, made in columns)
    target.execute(f"CREATE UNLOGGED TABLE {aside} ({plain})".encode())
    copied = copy_rows(scratch, target, table, aside)
    target.execute(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(owner)}".encode())
    target.execute(f"GRANT SELECT ON {aside} TO {quoted(owner)}".encode())
    names = ", ".join(own for own, _, _ in columns)
    values = ", ".join(f"{own}::{kind}" if made else own for own, kind, made in columns)
    insert = _INSERT.format(name, names, values, aside).encode()
    filled = run_as(scratch, target, staged.prefix, owner, insert)
    target.execute(f"DROP TABLE {aside}".encode())
    return copied, filled


def _fill_view(
    scratch: "Connection",
    target: "Connection",
    staged: Staged,
    view: FamilyPart,
    notes: list[str],
    *,
    as_owner: bool,
) -> int:
    """Copy the rows that the view had; a REFRESH would make new ones from today's tables.

    Rows can be copied into tables only, so the view is a table for a moment of our transaction.
    Only a superuser may do that; for others the view is refreshed, with a note.
    """
    if not scratch.execute(_IS_POPULATED, (view.oid,)).fetchall()[0][0]:
        return 0
    into = staged.name(view)
    try:
        with target.transaction():
            target.execute(_TURN_INTO, ("r", into))
            rows = _fill(scratch, target, staged, view, as_owner=as_owner)
            target.execute(_TURN_INTO, (MATERIALIZED_VIEW, into))
            return rows
    except psycopg.errors.InsufficientPrivilege:
        notes.append(
            "its rows are those of today's tables: only a superuser can copy the old ones"
        )
        target.execute(f"REFRESH MATERIALIZED VIEW {into}".encode())
        return target.execute(f"TABLE {into}".encode()).rowcount


@contextmanager
def _patience(target: "Connection") -> Iterator[None]:
    target.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'".encode())
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
        target.execute(f"DROP {_dropped_as(alike[0])} {names} RESTRICT".encode())
    except psycopg.errors.DependentObjectsStillExist as error:
        named = (error.diag.message_detail or "").splitlines()
        raise depended_on(about, named) from error
    except psycopg.errors.LockNotAvailable as error:
        raise BackupError(
            "postgres.in_use",
            f"{about}: it cannot be replaced, somebody used it for {_PATIENCE} on end",
            "try again when it is idle; pg_locks says who holds it",
        ) from error
