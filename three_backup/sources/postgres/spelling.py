"""Carries names between Python and a server byte for byte, whatever encoding they are in.

The names of roles and databases are shared by all databases, and each database has an encoding of
its own; one without encoding (SQL_ASCII) has any bytes as names of tables, too. In Python a name
is UTF-8, and a byte that is not is a lone surrogate (`surrogateescape`).
"""

import os
import re
import select
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from three_backup.errors import readable
from three_backup.model.objects import AS_BYTES

_TEXTS = ("text", "name", "varchar", "bpchar", '"char"', 0)
_TEXT_OID = 25
_UTF8, _NONE = "UTF8", "SQL_ASCII"
"""Client encodings; with none, the server neither converts nor refuses what it sends."""

_PATIENCE = 130.0
"""Seconds that a server may take to let us in; psycopg waits as long by default."""

_ROLES = "SELECT oid::int8, quote_ident(rolname) FROM pg_catalog.pg_roles"


class _NameLoader(Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).decode(*AS_BYTES)


class _NameDumper(Dumper):
    def dump(self, obj: str) -> bytes:
        return obj.encode(*AS_BYTES)


class _BinaryNameDumper(_NameDumper):
    """Dumps an element of a list."""

    format = pq.Format.BINARY
    oid = _TEXT_OID


_Session = TypeVar("_Session", bound="Session")


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A session that carries every name, also that of a role in a statement."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for text in _TEXTS:
            self.adapters.register_loader(text, _NameLoader)
        for dumper in (_BinaryNameDumper, _NameDumper):  # the last one is the usual one
            self.adapters.register_dumper(str, dumper)

    def execute(self, query: Any, *args: Any, **options: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        if isinstance(query, bytes) and not args and not _is_sent_as_it_is(self, query):
            query = _with_roles_by_number(self, query)
        return super().execute(query, *args, **options)


def connect_to(given: Mapping[str, str], kind: type[_Session]) -> _Session:
    """Connect as psycopg.connect does, also to a database, or as a role, with an odd name."""
    user = given.get("user") or os.environ.get("PGUSER", "")
    # The server tells us our role at once, and refuses to if it cannot be in the encoding.
    given = {**given, "client_encoding": _UTF8 if user.isascii() else _NONE}
    if all(map(_is_utf8, given.values())):
        session = kind.connect(make_conninfo(**given), autocommit=True)
    else:
        conninfo = " ".join(f"{name}={_quoted_value(value)}" for name, value in given.items())
        session = kind(_connect(conninfo.encode(*AS_BYTES)))
        session.autocommit = True
    if "replication" not in given:
        _agree_on_encoding(session)
    return session


def _agree_on_encoding(session: Session) -> None:
    encoding = _NONE if _has_no_encoding(session) else _UTF8
    if session.pgconn.parameter_status(b"client_encoding") != encoding.encode():
        session.execute(f"SET client_encoding = '{encoding}'".encode())


def _connect(conninfo: bytes) -> PGconn:
    connection = pq.PGconn.connect_start(conninfo)
    deadline = time.monotonic() + _PATIENCE
    while (status := connection.connect_poll()) != pq.PollingStatus.OK:
        left = deadline - time.monotonic()
        if status == pq.PollingStatus.FAILED or left <= 0:
            said = connection.error_message.decode(*AS_BYTES) or "timeout expired"
            raise psycopg.OperationalError(f"connection failed: {said}", pgconn=connection)
        reads = [connection.socket] if status == pq.PollingStatus.READING else []
        writes = [connection.socket] if status == pq.PollingStatus.WRITING else []
        select.select(reads, writes, (), left)
    connection.nonblocking = 1
    return connection


def _is_utf8(text: str) -> bool:
    return readable(text) == text


def _quoted_value(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _has_no_encoding(connection: psycopg.Connection[Any]) -> bool:
    return connection.pgconn.parameter_status(b"server_encoding") == _NONE.encode()


def _is_sent_as_it_is(connection: psycopg.Connection[Any], statement: bytes) -> bool:
    try:
        statement.decode()
    except UnicodeDecodeError:
        return _has_no_encoding(connection)
    return True


def _with_roles_by_number(connection: Session, statement: bytes) -> bytes:
    """Return a statement that does the same and takes odd names of roles from pg_roles.

    The server takes no statement that is not in the encoding of its database, but runs it.
    """
    numbers = {
        name.encode(*AS_BYTES): number
        for number, name in connection.execute(_ROLES)
        if not name.isascii()
    }
    if not numbers:
        return statement
    parts = re.split(b"(" + b"|".join(map(re.escape, numbers)) + b")", statement)
    built = b", ".join(
        b"(SELECT quote_ident(rolname) FROM pg_catalog.pg_roles WHERE oid = %d)" % numbers[part]
        if part in numbers
        else _literal(part)
        for part in parts
    )
    return b"DO" + _literal(b"BEGIN EXECUTE concat(%b); END" % built)


def _literal(text: bytes) -> bytes:
    return b" E'" + text.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"
