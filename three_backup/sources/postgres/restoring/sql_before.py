"""Runs an administrator's SQL in the scratch server before rows leave it: a masked copy.

It runs with the rights of the owner of what comes back. With those of a superuser, code of others
that it sets going could start programs where the server was restored, and read the passwords of
all. Many a table belongs to a superuser, though. So a role that has nothing else owns the tables
meanwhile, and logs in by itself: there is no other role that it could go back to.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg import generators, pq
from psycopg.errors import error_from_result

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.postgres.connection import quoted, said
from three_backup.sources.postgres.restoring.family import Family, FamilyPart, read_family
from three_backup.sources.postgres.restoring.script import Script
from three_backup.sources.postgres.scratch.locales import settings_to_find_all
from three_backup.sources.postgres.scratch.server import ScratchServer
from three_backup.sources.postgres.scratch.session import scratch_session

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

    from three_backup.sources.postgres.connection import Connection

_EXISTS = "SELECT FROM pg_roles WHERE rolname = %s"
# Triggers of the source shall not fire, as for any restore: they would write to tables that are
# not there, and into an audit what is to be masked. Only a superuser could set that otherwise.
_MAKE = (
    "CREATE ROLE {0} LOGIN BYPASSRLS",
    "ALTER ROLE {0} SET session_replication_role = replica",
)
_LET_IN = (
    "GRANT CONNECT, TEMPORARY ON DATABASE {1} TO {0}",
    "ALTER DATABASE {1} CONNECTION LIMIT -1",
    "ALTER DATABASE {1} RESET session_preload_libraries",
    "ALTER ROLE ALL RESET session_preload_libraries",
)
_SHOW, _HIDE = "GRANT USAGE ON SCHEMA {} TO {}", "REVOKE USAGE ON SCHEMA {} FROM {}"
_OWNERS = (
    "SELECT oid::int8, pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = ANY(%s::oid[])"
)
_NAMES = "SELECT oid::int8, oid::regclass::text FROM pg_class WHERE oid = ANY(%s::oid[])"
_THERE = """
SELECT n.nspname::text, c.relname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s::oid
"""
_UNDONE = ("ROLLBACK", "PREPARE TRANSACTION")
_COPIES = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)
_CODE = "postgres.sql_before"
_KEEP = "end each transaction with COMMIT, or begin none: all is done in one"
_NOTHING = "correct it; nothing was restored"
_NO_FILE, _ABSENT = "58P01", "name only tables that are restored with it"
_MOST = 20
"""Statements of which is told what they did: a file may hold any number."""


def run_before(
    job: RestoreJob, server: ScratchServer, scratch: "Connection", all_wanted: Sequence[Wanted]
) -> Mapping[str, Sequence[str]]:
    """Run what the job has for this, as the owner of what is wanted, all of one database.

    Returns the facts of it for each record. Raises BackupError; then no row must leave.
    """
    families = list[Family]()
    for wanted in all_wanted:
        with suppress(BackupError):  # told when they are read to be restored
            families.append(read_family(scratch, wanted.object, {wanted.object: wanted.object}))
    if job.sql_before is None or not families:
        return {}
    script, database = Script(job.sql_before), families[0].object.level1
    try:
        ran = _run_as_owner(server, scratch, script, families)
    except BackupError as error:
        raise BackupError(error.code, f"{database}: {error.message}", error.hint) from error
    told = [*ran[:_MOST], *([f"{len(ran) - _MOST} more"] if len(ran) > _MOST else [])]
    job.say(f"{database}: {script.file.name} ran before rows left it: {', '.join(told)}")
    return {"sql_before": told}


def _run_as_owner(
    server: ScratchServer, scratch: "Connection", script: Script, families: Sequence[Family]
) -> list[str]:
    """Return what the server says of each statement: `UPDATE 1200`."""
    tables = [table for family in families for table in family.tables]
    owners = _owners(scratch, tables)
    _check_one_owner(set(owners.values()))
    schemas = list(dict.fromkeys(quoted(table.source.schema) for table in tables))
    role, database = quoted(server.masker), families[0].object.level1
    _make_role(server, scratch, database)
    for schema in schemas:
        scratch.execute(_SHOW.format(schema, role).encode(*AS_BYTES))
    _give(scratch, tables, dict.fromkeys(owners, server.masker))
    with scratch_session(
        server.socket_folder, server.masker, database, superuser=False
    ) as session:
        path = ", ".join(dict.fromkeys((*schemas, "public")))
        session.execute(f"SET search_path = {path}".encode(*AS_BYTES))
        ran = _run(session, script)
    _give(scratch, tables, owners)
    for schema in schemas:
        scratch.execute(_HIDE.format(schema, role).encode(*AS_BYTES))
    for family in families:
        _check_kept(scratch, script, family)
    return ran


def _check_one_owner(owners: Collection[str]) -> None:
    """Raise BackupError if the code of one owner could see or change the rows of another."""
    if len(owners) > 1:
        raise BackupError(
            _CODE,
            f"the tables belong to {' and '.join(sorted(map(quoted, owners)))}, and --sql-before "
            "runs with the rights of one owner",
            "restore those of each owner by themselves",
        )


def _check_kept(scratch: "Connection", script: Script, family: Family) -> None:
    """Raise BackupError if what is to come back has not its name any more."""
    name, there = family.root.source, scratch.execute(_THERE, (family.root.oid,)).fetchone()
    if there != (name.schema, name.name):
        raise BackupError(
            _CODE,
            f"{script.file.name} drops or renames {name.schema}.{name.name}",
            "leave out of the restore what is not to come back",
        )


def _make_role(server: ScratchServer, scratch: "Connection", database: str) -> None:
    names = (quoted(server.masker), quoted(database))
    is_made = scratch.execute(_EXISTS, (server.masker,)).fetchone() is not None
    statements = [*(() if is_made else _MAKE), *_LET_IN]
    for name, value in settings_to_find_all(scratch).items():
        statements.append(f"ALTER ROLE {{0}} IN DATABASE {{1}} SET {name} = {value}")
    for statement in statements:
        scratch.execute(statement.format(*names).encode(*AS_BYTES))


def _owners(scratch: "Connection", tables: Sequence[FamilyPart]) -> dict[int, str]:
    return dict(scratch.execute(_OWNERS, ([table.oid for table in tables],)).fetchall())


def _give(scratch: "Connection", tables: Sequence[FamilyPart], owners: Mapping[int, str]) -> None:
    """Give each table to its new owner, but for those that are no more."""
    names = dict(scratch.execute(_NAMES, ([table.oid for table in tables],)).fetchall())
    for table in tables:
        if table.oid in names:
            to = f"{names[table.oid]} OWNER TO {quoted(owners[table.oid])}"
            scratch.execute(f"ALTER {table.altered_as} {to}".encode(*AS_BYTES))


def _run(session: "Connection", script: Script) -> list[str]:
    """Run all statements in one transaction, unless the script has its own."""
    session.execute("SET client_encoding = 'UTF8'")
    ended = list[str]()
    for result in _results(session, script.file.text.encode()):
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise _failed(script, len(ended), error_from_result(result, "utf-8"))
        if result.status in _COPIES:
            raise _refused(script, len(ended), "COPY cannot read or write here", "use INSERT")
        if result.status != pq.ExecStatus.SINGLE_TUPLE:
            ended.append((result.command_status or b"").decode())
        if ended and ended[-1] in _UNDONE:
            raise _refused(script, len(ended) - 1, f"{ended[-1]} undoes what is to be done", _KEEP)
    if session.info.transaction_status != pq.TransactionStatus.IDLE:
        raise _refused(script, len(ended) - 1, "a transaction is open at its end", _KEEP)
    return ended


def _results(session: "Connection", statements: bytes) -> "Iterator[PGresult]":
    """Yield the results as they come, and each row of them, so that none fills the memory."""
    connection = session.pgconn
    connection.send_query(statements)
    connection.set_single_row_mode()
    session.wait(generators.send(connection))
    while (result := session.wait(generators.fetch(connection))) is not None:
        yield result
        if result.status in _COPIES:
            return


def _failed(script: Script, number: int, error: "psycopg.Error") -> BackupError:
    position = error.diag.statement_position
    line = script.line(int(position) - 1) if position else script.line_of_statement(number)
    hint = _ABSENT if error.sqlstate == _NO_FILE else error.diag.message_hint or ""
    return _at(script, line, said(error), hint)


def _refused(script: Script, number: int, why: str, hint: str) -> BackupError:
    return _at(script, script.line_of_statement(number), why, hint)


def _at(script: Script, line: int | None, why: str, hint: str) -> BackupError:
    where = f", line {line}" if line else ""
    return BackupError(_CODE, f"{script.file.name}{where}: {why}", hint or _NOTHING)
