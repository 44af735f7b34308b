"""The way to the rows that a private server has: a session of the reader, of any client."""

import shlex
from typing import Any

from three_backup.sources.looking import Way
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.replaying.recovery import Reached
from three_backup.sources.postgres.restoring.family import Name
from three_backup.sources.postgres.scratch.server import READER, ScratchServer
from three_backup.sources.postgres.scratch.session import PORT

_CONNECTION_STRINGS = ("postgresql://", "postgres://", "-")
"""What psql takes for something other than the name of a database, at its beginning."""


def way(server: ScratchServer, database: str, relation: Name, reached: Reached | None) -> Way:
    host = str(server.socket_folder)
    argv = ("psql", "-h", host, "-p", str(PORT), "-U", READER, _database(database))
    facts: dict[str, Any] = {
        "host": host,
        "port": PORT,
        "user": READER,
        "database": database,
        "relation": f"{quoted(relation.schema)}.{quoted(relation.name)}",
    }
    if reached is not None:
        facts["moment"] = reached.facts
    note = f"{' and '.join(server.users)} may log in, to read; all other tables of it have no rows"
    return Way(shlex.join(argv), facts, (f"{database}: {note}",))


def _database(name: str) -> str:
    if "=" not in name and not name.startswith(_CONNECTION_STRINGS):
        return name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"
