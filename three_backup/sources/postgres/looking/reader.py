"""The role that reads in a private server: it reads everything, and may do nothing else.

A view runs code that its owner wrote. Where the server was restored that code must not have the
rights of a superuser, who starts programs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.scratch.server import READER, ScratchServer
from three_backup.sources.postgres.scratch.session import scratch_session

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_ROLE = quoted(READER)
_EXISTS = "SELECT FROM pg_roles WHERE rolname = %s"
_MAKE = f"CREATE ROLE {_ROLE} LOGIN BYPASSRLS IN ROLE pg_read_all_data"
_LET_IN = f"GRANT CONNECT ON DATABASE {{}} TO {_ROLE}"
_LOAD_NOTHING = "ALTER DATABASE {} RESET session_preload_libraries"
_NOR_ANYWHERE = "ALTER ROLE ALL RESET session_preload_libraries"
_READ_ONLY = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"


@contextmanager
def reader(server: ScratchServer, database: str, schema: str) -> Iterator["Connection"]:
    """Open a session of the reader, who finds names as a person in that schema does."""
    with server.connect(database) as superuser:
        if superuser.execute(_EXISTS, (READER,)).fetchone() is None:
            superuser.execute(_MAKE.encode())
        for statement in (_LET_IN, _LOAD_NOTHING, _NOR_ANYWHERE):
            superuser.execute(statement.format(quoted(database)).encode(*AS_BYTES))
    with scratch_session(server.socket_folder, READER, database, superuser=False) as session:
        session.execute(_READ_ONLY)
        path = f"SET search_path = {quoted(schema)}, public"
        session.execute(path.encode(*AS_BYTES))
        yield session
