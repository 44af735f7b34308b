"""Loads a staged family into the live target, in one transaction.

Everything is made in the stage's schemas, filled, checked, and moved into place at the end, when
what it replaces is dropped. Until the commit nobody sees any of it; a failure, a lost connection
or SIGKILL leaves the target as it was.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import psycopg

from three_backup.errors import BackupError
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.dependents import depended_on
from three_backup.sources.postgres.restoring.dump import Definitions
from three_backup.sources.postgres.restoring.family import (
    MATERIALIZED_VIEW,
    SEQUENCE,
    VIEWS,
    Family,
    FamilyPart,
)
from three_backup.sources.postgres.restoring.staging import Staged
from three_backup.sources.postgres.restoring.target import Existing, attempt

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_COLUMNS = """
SELECT c.oid::regclass::text, c.relispopulated,
       coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), '')
  FROM pg_class c
  LEFT JOIN pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.oid = %s::oid GROUP BY c.oid
"""
_TURN_INTO = "UPDATE pg_class SET relkind = %s, relispopulated = true WHERE oid = %s::regclass"
_BATCH_SIZE = 256 << 10
_PATIENCE = "60s"
"""How long the last step waits for users of what it replaces; later users wait behind it."""


def load(
    scratch: "Connection", target: "Connection", staged: Staged, definitions: Definitions
) -> tuple[dict[int, int], list[str]]:
    """Create and fill the family in its stage; return rows by table oid, and notes."""
    target.execute(definitions.before)
    rows, notes = {}, list[str]()
    for table in staged.family.tables:
        if table.kind == "r":
            rows[table.oid] = _copy(scratch, target, table, staged.name(table))
        elif table.kind == MATERIALIZED_VIEW:
            rows[table.oid] = _fill_view(scratch, target, table, staged.name(table), notes)
    for part in staged.family.parts:
        if part.kind == SEQUENCE:
            copy_sequence(scratch, target, part.oid, staged.name(part))
    target.execute(definitions.after)
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


def join_again(target: "Connection", staged: Staged, doomed: Existing | None) -> list[str]:
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
        why_not = attempt(target, membership.statement(name))
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


def _copy(scratch: "Connection", target: "Connection", table: FamilyPart, into: str) -> int:
    source, _, columns = scratch.execute(_COLUMNS, (table.oid,)).fetchall()[0]
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
    if reading.rowcount != writing.rowcount:
        raise BackupError(
            "postgres.rows_differ",
            f"{table.target.name}: {writing.rowcount} of {reading.rowcount} rows arrived",
        )
    return writing.rowcount


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


def _fill_view(
    scratch: "Connection", target: "Connection", view: FamilyPart, into: str, notes: list[str]
) -> int:
    """Copy the rows that the view had; a REFRESH would make new ones from today's tables.

    Rows can be copied into tables only, so the view is a table for a moment of our transaction.
    Only a superuser may do that; for others the view is refreshed, with a note.
    """
    if not scratch.execute(_COLUMNS, (view.oid,)).fetchall()[0][1]:
        return 0
    try:
        with target.transaction():
            target.execute(_TURN_INTO, ("r", into))
            rows = _copy(scratch, target, view, into)
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
