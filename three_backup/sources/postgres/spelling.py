"""Carries names between Python and a server byte for byte, whatever encoding they are in.

The names of roles and databases are shared by all databases, and each database has an encoding of
its own; one without encoding (SQL_ASCII) has any bytes as names of tables, too. In Python a name
is text, and a byte that is none in the encoding of its database is a lone surrogate
(`surrogateescape`). A server that converts what it sends to UTF-8 would refuse to send such a
byte. So sessions in a database with single bytes or without encoding get what is stored, and it
is converted here, as PostgreSQL does it.
"""

import math
import os
import re
import select
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from three_backup.errors import readable
from three_backup.host.patience import limit
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.waiting import BESIDE, SOURCE, PatientConnection

_TEXTS = ("text", "name", "varchar", "bpchar", '"char"', 0)
_TEXT_OID = 25
_UTF8, _NONE = "UTF8", "SQL_ASCII"
_PATIENCE = 130.0
"""Seconds that a server may take to let us in; psycopg waits as long by default."""
_SHORTEST = 2.0  # psycopg waits for no less

_IS_SINGLE_BYTE = """
SELECT pg_catalog.pg_encoding_max_length(encoding) = 1
  FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""
_ROLES = "SELECT oid::int8, quote_ident(rolname) FROM pg_catalog.pg_roles"


def codec_of(connection: psycopg.Connection[Any]) -> str:
    """Return Python's name of the encoding in which the session speaks to its server."""
    codec = connection.info.encoding
    return AS_BYTES[0] if codec == "ascii" else codec


def bytes_of(connection: psycopg.Connection[Any], name: str) -> bytes:
    """Return a name as the server stores it; nothing if it cannot have that name."""
    try:
        return name.encode(codec_of(connection), AS_BYTES[1])
    except UnicodeEncodeError:
        return b""


class _Names:
    """Knows the encoding of the connection."""

    def __init__(self, kind: Any, context: AdaptContext | None = None) -> None:
        super().__init__(kind, context)  # type: ignore[call-arg]
        connection = None if context is None else context.connection
        self._codec = AS_BYTES[0] if connection is None else codec_of(connection)  # type: ignore[arg-type]


class _NameLoader(_Names, Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).decode(self._codec, AS_BYTES[1])


class _NameDumper(_Names, Dumper):
    def dump(self, obj: str) -> bytes:
        return _encoded(obj, self._codec)


class _BinaryNameDumper(_NameDumper):
    """Dumps an element of a list."""

    format = pq.Format.BINARY
    oid = _TEXT_OID


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    def execute(self, query: Any, *args: Any, **options: Any) -> Any:
        return super().execute(spelt(self.connection, query), *args, **options)

    def copy(self, statement: Any, *args: Any, **options: Any) -> Any:
        return super().copy(spelt(self.connection, statement), *args, **options)


class _ServerCursor(psycopg.ServerCursor[tuple[Any, ...]]):
    def execute(self, query: Any, *args: Any, **options: Any) -> Any:
        return super().execute(spelt(self.connection, query), *args, **options)


class Session(PatientConnection):
    """A session that takes statements in UTF-8 and carries every name."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cursor_factory, self.server_cursor_factory = _Cursor, _ServerCursor
        for text in _TEXTS:
            self.adapters.register_loader(text, _NameLoader)
        for dumper in (_BinaryNameDumper, _NameDumper):  # the last one is the usual one
            self.adapters.register_dumper(str, dumper)

    def beside(self) -> "_Beside":
        given = {"dbname": os.environ.get("PGDATABASE") or "postgres", **self.given}
        given |= {"host": self.info.host, "port": str(self.info.port)}  # of several that may be
        given.pop("replication", None)
        return connect_to(given, _Beside)


class _Beside(Session):
    is_beside = True


_Session = TypeVar("_Session", bound=Session)


def connect_to(given: Mapping[str, str], kind: type[_Session]) -> _Session:
    """Connect as psycopg.connect does, also to a database, or as a role, with an odd name."""
    user = given.get("user") or os.environ.get("PGUSER", "")
    # The server tells us our role at once, and refuses to if it cannot be converted.
    given = {**given, "client_encoding": _UTF8 if user.isascii() else _NONE}
    given["connect_timeout"] = str(_patience(BESIDE if kind.is_beside else _PATIENCE))
    if all(map(_is_utf8, given.values())):
        session = kind.connect(make_conninfo(**given), autocommit=True)
    else:
        conninfo = " ".join(f"{name}={_quoted_value(value)}" for name, value in given.items())
        session = kind(_connect(conninfo.encode(*AS_BYTES)))
        session.autocommit = True
    session.given = given
    if "replication" not in given:
        _agree_on_encoding(session)
    return session


def _patience(longest: float) -> int:
    """Return how many seconds to wait for a connection."""
    with suppress(KeyError, ValueError):
        longest = min(longest, float(os.environ["PGCONNECT_TIMEOUT"]) or longest)
    return math.ceil(max(_SHORTEST, min(longest, limit(SOURCE))))


def _connect(conninfo: bytes) -> PGconn:
    connection = pq.PGconn.connect_start(conninfo)
    deadline = time.monotonic() + _patience(_PATIENCE)
    while (status := connection.connect_poll()) != pq.PollingStatus.OK:
        left = deadline - time.monotonic()
        if status == pq.PollingStatus.FAILED or left <= 0:
            said = connection.error_message.decode(*AS_BYTES) or "timeout expired"
            raise psycopg.OperationalError(f"connection failed: {said}", pgconn=connection)
        reads = [connection.socket] if status == pq.PollingStatus.READING else []
        writes = [connection.socket] if status == pq.PollingStatus.WRITING else []
        select.select(reads, writes, (), min(left, 1))
    connection.nonblocking = 1
    return connection


def _agree_on_encoding(session: Session) -> None:
    stored, encoding = _parameter(session, "server_encoding"), _UTF8
    if stored != _UTF8 and session.execute(_IS_SINGLE_BYTE).fetchone() == (True,):
        encoding = stored
    if _parameter(session, "client_encoding") != encoding:
        session.execute(f"SET client_encoding = '{encoding}'".encode())


def _parameter(connection: psycopg.Connection[Any], name: str) -> str:
    return str(connection.info.parameter_status(name))


def _is_utf8(text: str) -> bool:
    return readable(text) == text


def _quoted_value(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def spelt(connection: psycopg.Connection[Any], statement: Any) -> Any:
    """Return the statement as the server takes it."""
    if not isinstance(statement, bytes) or statement.isascii():
        return statement
    text, codec = statement.decode(*AS_BYTES), codec_of(connection)
    if codec != AS_BYTES[0]:
        return _encoded(text, codec)
    if _is_utf8(text) or _parameter(connection, "server_encoding") == _NONE:
        return statement
    return _with_roles_by_number(connection, statement)


def _encoded(text: str, codec: str) -> bytes:
    try:
        return text.encode(codec, AS_BYTES[1])
    except UnicodeEncodeError as error:
        character = text[error.start]
        raise psycopg.errors.UntranslatableCharacter(
            f'character "{character}" has no equivalent in encoding "{codec}"'
        ) from error


def _with_roles_by_number(connection: psycopg.Connection[Any], statement: bytes) -> bytes:
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
