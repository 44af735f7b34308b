"""Fixtures: a ClickHouse server that tests find as the tools do, and its storage."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.model.storage import Storage

from .taking import Taking

_NUMBERS = count(1)


@pytest.fixture
def live(clickhouse: ClickhouseServer, monkeypatch: pytest.MonkeyPatch) -> ClickhouseServer:
    """A server to which `CLICKHOUSE_*` and PATH lead."""
    for name, value in clickhouse.environ.items():
        monkeypatch.setenv(name, value)
    return clickhouse


@pytest.fixture
def database(live: ClickhouseServer) -> Iterator[str]:
    """An empty database, dropped with its copies after the test."""
    name = f"shop{next(_NUMBERS)}"
    live.execute(f"CREATE DATABASE {name}")
    yield name
    for (left,) in live.rows(
        f"SELECT name FROM system.databases WHERE startsWith(name, '{name}')"
    ):
        live.execute(f"DROP DATABASE `{left}` SYNC")


@pytest.fixture
def storage(seaweed: SeaweedServer, bucket: str, tmp_path: Path) -> Storage:
    return Storage(
        tmp_path,
        seaweed.endpoint,
        bucket,
        "host",
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
    )


@pytest.fixture
def taking(live: ClickhouseServer, storage: Storage) -> Taking:
    return Taking(live, storage)
