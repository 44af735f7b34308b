"""What the tables of a server hold, as hashes; and the server of a restored data directory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from three_backup.demo.servers import PostgresServer

_HASH = "select count(*), sum(hashtextextended(t::text, 0)) from {} t"


def hash_of(connection: "psycopg.Connection[tuple[object, ...]]", table: str) -> str:
    """Return what tells the rows of the table from others, whatever their order."""
    return str(connection.execute(_HASH.format(table).encode()).fetchone())


def hashes(server: PostgresServer, database: str, tables: Sequence[str]) -> Mapping[str, str]:
    """Return the hash of each table."""
    with psycopg.connect(server.conninfo(database)) as connection:
        return {table: hash_of(connection, table) for table in tables}


@contextmanager
def revived(folder: Path, like: PostgresServer) -> Iterator[PostgresServer]:
    """Run a server on the restored data directory `pgdata` in the folder, while the block lasts.

    like: a server of the same version.
    """
    server = PostgresServer(folder, like.version, bindir=like.bindir)
    with (server.pgdata / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"port = {server.port}\nunix_socket_directories = '{server.folder}'\n")
    with server:
        yield server
