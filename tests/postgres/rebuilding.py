"""Restores a whole cluster into a folder and runs it there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.postgres.taking import EVERYWHERE, run
from three_backup.demo.servers import PostgresServer
from three_backup.sources.base import Restored
from three_backup.sources.jobs import SnapshotFiles, WholeJob
from three_backup.sources.postgres.source import PostgresSource

_WRITABLE = "DO $$ BEGIN WHILE pg_is_in_recovery() LOOP PERFORM pg_sleep(0.1); END LOOP; END $$"


def rebuild(
    chain: Sequence[SnapshotFiles], folder: Path, moved: Mapping[str, str] | None = None
) -> Restored:
    """Restore the whole cluster into `pgdata` in the folder."""
    return PostgresSource().restore_whole(
        WholeJob(
            chain=chain,
            directory=folder / "pgdata",
            moved=moved or {},
            owner=None,
            source_settings=EVERYWHERE,
            advance=lambda size: None,
            say=lambda sentence: None,
        )
    )


@contextmanager
def running(folder: Path, like: PostgresServer) -> Iterator[PostgresServer]:
    """Run the restored cluster during the block, with the programs of another server."""
    server = PostgresServer(folder, like.version, bindir=like.bindir)
    with (server.pgdata / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"port = {server.port}\n")
        settings.write(f"unix_socket_directories = '{server.folder}'\n")
    with server:
        run(server, "postgres", _WRITABLE)
        yield server
