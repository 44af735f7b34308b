"""Connect to PostgreSQL, and explain its refusals.

libpq itself finds server, role and password: from `PG*`, `.pgpass` and the service file. No
password passes through this code, and no error message of libpq has one.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.objects import AS_BYTES

if TYPE_CHECKING:
    import psycopg

    from three_backup.sources.postgres.waiting import PatientConnection

    Connection = PatientConnection

APPLICATION = "three_backup"
ENDED = "postgres.ended"
"""The error code if a server that keeps running has ended a connection."""
_DATABASE = "postgres"
# An empty search path, so that no operator or function of a user is taken for PostgreSQL's own.
_SESSION = (
    "SET search_path = ''; SET default_transaction_read_only = on; SET statement_timeout = 0"
)
_SAID = re.compile(r"(?:FATAL|ERROR|PANIC):\s+(.*)")
_PREFIX = re.compile(r"^connection (?:failed|is bad): ")
_NAME_A_ROLE = (
    "set PGHOST, PGUSER and PGPASSWORD in .env (for restores in .env.restore) beside the "
    "configuration, or write the password to ~/.pgpass"
)
_ADD = "add this line to pg_hba.conf and run SELECT pg_reload_conf(): "
_ADD_ABOVE = (
    "add this line to pg_hba.conf, above the one that rejects, and run SELECT pg_reload_conf(): "
)
_REFUSALS = (
    (
        r"no pg_hba\.conf entry for replication",
        "postgres.no_hba",
        _ADD + "{line_of_replication}",
    ),
    (r"no pg_hba\.conf entry", "postgres.no_hba", _ADD + "{line_of_database}"),
    (
        r"pg_hba\.conf rejects replication",
        "postgres.no_hba",
        _ADD_ABOVE + "{line_of_replication}",
    ),
    (r"pg_hba\.conf rejects", "postgres.no_hba", _ADD_ABOVE + "{line_of_database}"),
    (
        r"start WAL sender|start walsender",
        "postgres.no_replication_role",
        "run as a superuser: ALTER ROLE {role} REPLICATION",
    ),
    (
        r"permission denied for database",
        "postgres.no_connect",
        "run as a superuser: GRANT CONNECT ON DATABASE {database} TO {role}",
    ),
    (
        r"max_wal_senders",
        "postgres.no_wal_sender",
        "raise max_wal_senders (ALTER SYSTEM SET max_wal_senders = 10) and restart the server",
    ),
    (
        r"authentication failed|no password supplied|role \".*\" does not exist",
        "postgres.denied",
        _NAME_A_ROLE,
    ),
    (
        r"database \".*\" does not exist",
        "postgres.no_database",
        "set PGDATABASE to a database that exists",
    ),
    (
        r"too many (?:clients|connections)|remaining connection slots",
        "postgres.no_connection_slot",
        "raise max_connections, or the CONNECTION LIMIT of role {role} or database {database}",
    ),
    (
        r"all replication slots are in use",
        "postgres.no_slot",
        "drop a slot that nobody uses, or raise max_replication_slots and restart the server",
    ),
    (
        r"requested WAL segment \w+ has already been removed",
        "postgres.wal_removed",
        "raise max_slot_wal_keep_size, then take it again",
    ),
    (
        r"terminating connection due to administrator command",
        ENDED,
        "if nobody stopped the server, raise max_slot_wal_keep_size; then take it again",
    ),
)
_NOT_REACHED = re.compile(
    r"refused|No such file|resolve|translate host|timeout|timed out|unreachable|No route"
    r"|closed the connection|starting up|shutting down|not (?:yet )?accepting"
    r"|Connection reset|consistent recovery state|recovery mode"
)


@contextmanager
def connect(database: str | None = None, **options: str) -> "Iterator[Connection]":
    """Open a session that only reads. database: None means PGDATABASE, or `postgres`.

    options: further ones of libpq.

    Errors of psycopg inside the block are translated to BackupError as well.
    """
    name = database or os.environ.get("PGDATABASE") or _DATABASE
    with _connected(dbname=name, **options) as connection:
        connection.execute(_SESSION)
        yield connection


@contextmanager
def connect_replication() -> "Iterator[Connection]":
    """Open a session that speaks the replication protocol, for the cluster as a whole."""
    with _connected(replication="true") as connection:
        yield connection


@contextmanager
def as_stored(connection: "Connection") -> Iterator[None]:
    """Read the names of databases and roles as they are: any database may have made them."""
    ((before,),) = connection.execute("SHOW client_encoding").fetchall()
    connection.execute("SET client_encoding = 'SQL_ASCII'")
    yield
    connection.execute(f"SET client_encoding = '{before}'".encode())


def quoted(name: str) -> str:
    """Return the name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def translated(error: "psycopg.Error") -> BackupError:
    """Return what the server or libpq says as a BackupError, with a remedy if one is known."""
    sentence = _sentence(error)
    for pattern, code, hint in _REFUSALS:
        if re.search(pattern, sentence):
            return BackupError(code, f"PostgreSQL: {sentence}", hint.format(**_identity(error)))
    if error.sqlstate is None and _NOT_REACHED.search(sentence):
        return UnreachableError(
            "postgres.unreachable",
            f"PostgreSQL does not answer: {sentence}",
            "check that the server runs, and PGHOST and PGPORT",
        )
    return BackupError("postgres.refused", f"PostgreSQL: {sentence}", "see the log of the server")


@contextmanager
def _connected(**options: str) -> "Iterator[Connection]":
    import psycopg

    from three_backup.sources.postgres.spelling import Session, connect_to

    given = {"application_name": APPLICATION, **options}
    try:
        # Closed, not rolled back: in the middle of a stream psycopg would log that it cannot.
        connection: Connection
        with closing(connect_to(given, Session)) as connection:
            yield connection
    except psycopg.Error as error:
        failure = translated(error)
        if failure.code == ENDED:
            failure = _unreachable(given) or failure
        raise failure from error


def _unreachable(given: Mapping[str, str]) -> UnreachableError | None:
    """Return the UnreachableError of a new connection; None if the server answers it.

    A server that shuts down says the same as one that ended a single connection. Whether a client
    hears that depends on how much of the stream waits in its socket.
    """
    import psycopg

    from three_backup.sources.postgres.spelling import Session, connect_to

    try:
        connect_to(given, Session).close()
    except psycopg.Error as error:
        failure = translated(error)
        return failure if isinstance(failure, UnreachableError) else None
    return None


def said(error: "psycopg.Error", part: str = "message_primary") -> str:
    """Return the server's own words, with all names as they are; else what psycopg says."""
    from psycopg.pq import DiagnosticField

    result, text = error.pgresult, getattr(error.diag, part) or str(error)
    if result is None or "\ufffd" not in text:
        return str(text)
    return (result.error_field(DiagnosticField[part.upper()]) or b"").decode(*AS_BYTES)


def user_of(connection: "Connection") -> str:
    return connection.pgconn.user.decode(*AS_BYTES)


def database_of(connection: "Connection") -> str:
    return connection.pgconn.db.decode(*AS_BYTES)


def _sentence(error: "psycopg.Error") -> str:
    """Return the server's own message if there is one (the last, if several attempts failed)."""
    text = said(error)
    if error.pgresult is not None:
        return text
    found: list[str] = _SAID.findall(text)
    return found[-1] if found else _PREFIX.sub("", text.partition("\n")[0])


def _identity(error: "psycopg.Error") -> Mapping[str, str]:
    """Return the fields of hints: role and database in SQL, and their lines of pg_hba.conf."""
    connection = error.pgconn
    role = quoted(((connection and connection.user) or b"?").decode(*AS_BYTES))
    database = quoted(((connection and connection.db) or b"?").decode(*AS_BYTES))
    address = re.search(r'(?:from|for) host "([^"]*)"', str(error))
    return {
        "role": role,
        "database": database,
        "line_of_replication": _hba_line("replication", role, address and address[1]),
        "line_of_database": _hba_line(database, role, address and address[1]),
    }


def _hba_line(database: str, role: str, address: str | None) -> str:
    if address is None or address == "[local]":
        return f"local {database} {role} scram-sha-256"
    bits = 128 if ":" in address else 32
    return f"host {database} {role} {address}/{bits} scram-sha-256"
