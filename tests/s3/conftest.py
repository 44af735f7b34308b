"""The S3 servers of the suite: to run it on one more, add the name of its fixture to SERVERS."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.lab.dialects import MotoServer, SwiftServer
from three_backup.model.storage import Storage
from three_backup.s3.store import Store

from .files import PART

SERVERS = ["seaweed", "moto", "swift"]
_NUMBERS = count(1)

Connect = Callable[..., Store]


@pytest.fixture(scope="session")
def moto(server_folder: Path) -> Iterator[MotoServer]:
    with MotoServer(server_folder / "moto") as server:
        yield server


@pytest.fixture(scope="session")
def swift(server_folder: Path) -> Iterator[SwiftServer]:
    with SwiftServer(server_folder / "swift") as server:
        yield server


@pytest.fixture(params=SERVERS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A prefix in a fresh bucket."""
    server = request.getfixturevalue(request.param)
    bucket = f"s3-{next(_NUMBERS)}"
    server.create_bucket(bucket)
    yield Storage(
        local_dir=tmp_path,
        endpoint=server.endpoint,
        bucket=bucket,
        prefix="host.example",
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=getattr(server, "region", None),
        timeout=timedelta(seconds=1),
    )
    server.delete_bucket(bucket)


@pytest.fixture
def store(storage: Storage) -> Store:
    return Store(storage)


@pytest.fixture
def connect(storage: Storage) -> Connect:
    """A function that returns a store whose storage differs in the named fields."""
    return lambda **changes: Store(replace(storage, **changes))


@pytest.fixture(scope="session")
def content() -> bytes:
    """Random bytes, so that no two ranges are equal."""
    return os.urandom(8 * PART)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "uploads" / "file.journal"
