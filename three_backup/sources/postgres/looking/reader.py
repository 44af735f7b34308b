"""The role that reads in a private server: it reads everything, and may do nothing else.

A view runs code that its owner wrote. Where the server was restored that code must not have the
rights of a superuser, who starts programs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.scratch.locales import settings_to_find_all
from three_backup.sources.postgres.scratch.server import READER, ScratchServer
from three_backup.sources.postgres.scratch.session import OPTIONS, scratch_session

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_ROLE = quoted(READER)
_IS_OURS = """
SELECT shobj_description(oid, 'pg_authid') IS NOT DISTINCT FROM %s
  FROM pg_roles WHERE rolname = %s
"""
_OURS = "made to look into a snapshot"
_RENAME = f"ALTER ROLE {_ROLE} RENAME TO {READER}_of_source"
_MAKE = (
    f"CREATE ROLE {_ROLE} LOGIN BYPASSRLS IN ROLE pg_read_all_data",
    f"COMMENT ON ROLE {_ROLE} IS '{_OURS}'",
)
_LET_IN = f"GRANT CONNECT, TEMPORARY ON DATABASE {{}} TO {_ROLE}"
_NO_LIMIT = "ALTER DATABASE {} CONNECTION LIMIT -1"
_LIBRARIES = ("session_preload_libraries", "local_preload_libraries")
"""Lists, which cannot be set to nothing for a role: they are reset wherever they are set."""

_LOAD_NOTHING = "ALTER DATABASE {} RESET {}"
_NOR_ANYWHERE = "ALTER ROLE ALL RESET {}"
_SET = f"ALTER ROLE {_ROLE} IN DATABASE {{}} SET {{}} = {{}}"
_READ_ONLY = "default_transaction_read_only"


@contextmanager
def reader(server: ScratchServer, database: str, schema: str) -> Iterator["Connection"]:
    """Open a session of the reader, who finds names as a person in that schema does."""
    let_reader_in(server, database, [schema])
    with scratch_session(server.socket_folder, READER, database, superuser=False) as session:
        session.execute(f"SET {_READ_ONLY} = on".encode())
        session.execute(f"SET search_path = {_path([schema])}".encode(*AS_BYTES))
        yield session


@contextmanager
def comparing(server: ScratchServer, database: str) -> Iterator["Connection"]:
    """Open a session of the reader that may also make temporary tables, and finds no names."""
    let_reader_in(server, database, ())
    with scratch_session(server.socket_folder, READER, database, superuser=False) as session:
        yield session


def let_reader_in(server: ScratchServer, database: str, schemas: Sequence[str]) -> None:
    """Let the reader in by any client, with what scratch_session() sets, in those schemas."""
    name = quoted(database)
    with server.connect(database) as superuser:
        statements = [
            *_making(superuser),
            *(statement.format(name) for statement in (_LET_IN, _NO_LIMIT)),
            *(_LOAD_NOTHING.format(name, library) for library in _LIBRARIES),
            *(_NOR_ANYWHERE.format(library) for library in _LIBRARIES),
            *(_SET.format(name, *setting) for setting in _settings(schemas)),
            *(_SET.format(name, *it) for it in settings_to_find_all(superuser).items()),
        ]
        for statement in statements:
            superuser.execute(statement.encode(*AS_BYTES))


def _making(superuser: "Connection") -> Iterator[str]:
    """Yield what makes the reader; a role of the source with that name may have any right."""
    found = superuser.execute(_IS_OURS, (_OURS, READER)).fetchone()
    if found == (False,):
        yield _RENAME
    if found != (True,):
        yield from _MAKE


def _settings(schemas: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, value in OPTIONS.items():
        if name not in (*_LIBRARIES, _READ_ONLY, "search_path"):
            yield name, f"'{value}'"
    yield _READ_ONLY, "on"
    yield "search_path", _path(schemas)


def _path(schemas: Sequence[str]) -> str:
    return ", ".join((*map(quoted, schemas), "public"))
