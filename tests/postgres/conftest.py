"""A PostgreSQL server that the tests of this folder find the way the tools find it."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from three_backup.demo.servers import PostgresServer

from .restoring import Restoring
from .taking import Taking, run

_NUMBERS = count(1)


@pytest.fixture
def live(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """Both versions, one after the other; `PG*` lead to it."""
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
def taking(tmp_path: Path) -> Taking:
    """Of the server that `PG*` lead to."""
    return Taking(tmp_path)


@pytest.fixture
def restoring(server_folder: Path, live: PostgresServer) -> Iterator[Restoring]:
    folder = server_folder / "work"
    folder.mkdir(mode=0o711)
    yield Restoring(folder)
    shutil.rmtree(folder)
