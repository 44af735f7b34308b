"""PostgreSQL servers that tests find as the tools do, by `PG*`."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from three_backup import command
from three_backup.demo.servers import PostgresServer
from three_backup.sources.postgres.scratch.server import scratch_user

from .restoring import Restoring
from .taking import Taking, run

_NUMBERS = count(1)


@pytest.fixture
def live(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """A server of each version in turn; `PG*` lead to it."""
    for name, value in postgres.environ.items():
        monkeypatch.setenv(name, value)
    return postgres


@pytest.fixture
def database(live: PostgresServer) -> Iterator[str]:
    """An empty database, dropped after the test."""
    name = f"production{next(_NUMBERS)}"
    run(live, "postgres", f"CREATE DATABASE {name}")
    yield name
    run(live, "postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def parent(server_folder: Path) -> Iterator[Path]:
    """A folder that the account of servers can enter, deleted after the test."""
    folder = server_folder / f"parent{next(_NUMBERS)}"
    folder.mkdir(mode=0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def taking(tmp_path: Path) -> Taking:
    """Takes snapshots of the server that `PG*` lead to."""
    return Taking(tmp_path)


@pytest.fixture
def restoring(server_folder: Path) -> Iterator[Restoring]:
    folder = server_folder / "work"
    folder.mkdir(mode=0o711)
    yield Restoring(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session", params=[17, 18])
def old(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server of each version without checksums, with few locks.

    It knows prepared transactions and logical replication.
    """
    folder = server_folder / f"old{request.param}"
    settings = {
        "max_prepared_transactions": "5",
        "max_locks_per_transaction": "10",
        "wal_level": "logical",
    }
    with PostgresServer(folder, request.param, settings) as server:
        server.stop()
        checksums = [str(server.bindir / "pg_checksums"), "--disable", str(server.pgdata)]
        command.run(command.Program(checksums, user=scratch_user(None)))
        server.start()
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def rare(old: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of `old`, to which `PG*` lead; the database `copy` is dropped as well."""
    for name, value in old.environ.items():
        monkeypatch.setenv(name, value)
    run(old, "postgres", "CREATE DATABASE rare")
    yield "rare"
    for database in ("rare", "copy"):
        run(old, "postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
