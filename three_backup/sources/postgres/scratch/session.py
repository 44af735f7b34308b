"""Open sessions of a scratch server with default settings.

The restored catalogs have the source's settings for its databases and roles. The options of a
session override them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from three_backup.errors import BackupError
from three_backup.sources.postgres.connection import database_of, said
from three_backup.sources.postgres.spelling import Session, connect_to

PORT = 5432
NO_LOGIN = "postgres.scratch_login"
"""The error code if the source's superuser may not log in."""
NO_LOCALE = "postgres.scratch_locale"
"""The error code if the locale of a database is unknown here."""

_REFUSALS = (
    ("is not permitted to log in", NO_LOGIN, ""),
    (
        "is not recognized by setlocale",
        NO_LOCALE,
        "make it on this host (locale-gen of the package locales, or a package glibc-langpack)",
    ),
    (
        "could not access file",
        "postgres.scratch_library",
        "install the package of the extension with that library, for this major version, here",
    ),
    (
        "ICU is not supported in this build",
        "postgres.scratch_icu",
        "set pg_bindir to programs that were built with ICU",
    ),
)
_OF_SUPERUSERS = {"session_preload_libraries": ""}
OPTIONS = {
    "local_preload_libraries": "",
    "search_path": "",
    "lc_monetary": "C",
    "role": "none",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "row_security": "off",
}
"""Settings of every session."""

_PLAIN_ROWS = """
SET datestyle = ISO; SET intervalstyle = postgres; SET lc_monetary = 'C'; SET array_nulls = on;
SET bytea_output = hex; SET xmloption = content; SET extra_float_digits = 3
"""


class _Connection(Session):
    """A connection whose errors name the scratch server, also inside another server's session."""

    def wait(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().wait(*arguments, **options)
        except psycopg.Error as error:
            raise _failed(database_of(self), error) from error


@contextmanager
def scratch_session(
    sockets: Path, user: str, database: str, *, superuser: bool = True
) -> Iterator[_Connection]:
    """Open a session of single-statement transactions.

    sockets: the folder of the sockets. superuser: whether the user is one; what only one may set
    has to be set for any other before.
    """
    try:
        given = {
            "host": str(sockets),
            "hostaddr": "",
            "port": str(PORT),
            "user": user,
            "dbname": database,
            "options": _options(superuser=superuser),
            "sslmode": "disable",
            "gssencmode": "disable",
            "channel_binding": "prefer",
            "require_auth": "",
            "target_session_attrs": "any",
        }
        connection = connect_to(given, _Connection)
    except psycopg.Error as error:
        raise _failed(database, error) from error
    with connection:
        plain_rows(connection)
        yield connection


def session_environment(sockets: Path, superuser: str, database: str) -> dict[str, str | None]:
    """Return the environment with which a program connects as scratch_session() does."""
    environment: dict[str, str | None] = dict.fromkeys(
        variable for variable in os.environ if variable.startswith("PG")
    )
    return environment | {
        "PGHOST": str(sockets),
        "PGPORT": str(PORT),
        "PGUSER": superuser,
        "PGDATABASE": database,
        "PGOPTIONS": _options(superuser=True),
    }


def plain_rows(connection: "psycopg.Connection[Any]") -> None:
    """Make both ends of a COPY agree on how values are written."""
    connection.execute(_PLAIN_ROWS)


def _options(*, superuser: bool) -> str:
    given = {**(_OF_SUPERUSERS if superuser else {}), **OPTIONS}
    return " ".join(f"-c {name}={value}" for name, value in given.items())


def _failed(database: str, error: psycopg.Error) -> BackupError:
    sentence = " ".join(said(error).split())
    message = f"postgres: the scratch server fails on database {database}: {sentence}"
    for part, code, hint in _REFUSALS:
        if part in sentence:
            return BackupError(code, message, hint)
    return BackupError("postgres.scratch", message)
