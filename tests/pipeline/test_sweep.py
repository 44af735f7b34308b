"""Whatever is killed at whatever instant, the next run succeeds and all listed snapshots restore.

`--seeds N` tries more instants than a usual run. Odd seeds include ClickHouse.
"""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from tests.lab.forked import Forked
from tests.lab.sample import Sample
from tests.pipeline.conftest import Host, host_beside, store
from tests.pipeline.test_failures import HASH, members, started, until
from three_backup.catalog.catalog import Catalog
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.model.layout import path
from three_backup.model.snapshots import Manifest
from three_backup.sources.clickhouse.attempt import folder_key, links

_NUMBERS = count(1)
FORCED = "tb-discover | tb-snapshot {} | tb-upload | tb-rotate"
RUNS = ("tb-run", FORCED.format("--incremental"), FORCED.format("--base"))


class Server(Protocol):
    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Noise(Protocol):
    """A table whose content changes."""

    id: str
    server: Server

    def change(self, attempt: int) -> None: ...

    def hash(self, name: str = "noise") -> object:
        """Return a hash of the content of the table with this name."""


class OfPostgres:
    def __init__(self, host: Host) -> None:
        self.id = host.table("noise")
        self.server: Server = host.server
        self._host = host
        host.execute(
            "create table noise as select i as id, md5(i::text) as word"
            " from generate_series(1, 30000) i"
        )

    def change(self, attempt: int) -> None:
        self._host.execute(f"update noise set word = md5(word) where id % 50 = {attempt}")

    def hash(self, name: str = "noise") -> object:
        return self._host.rows(HASH.replace("noise", name))


class OfClickhouse:
    def __init__(self, host: Host, server: ClickhouseServer) -> None:
        self.id = f"clickhouse/table/default/{host.database}/noise"
        self.server: Server = server
        self._engine, self._database = server, host.database
        host.environ["PATH"] = f"{server.bindir}{os.pathsep}{host.environ['PATH']}"
        host.environ |= {name: value for name, value in server.environ.items() if name != "PATH"}
        server.execute(f"CREATE DATABASE {self._database}")
        server.execute(
            f"CREATE TABLE {self._database}.noise ENGINE MergeTree ORDER BY id AS "
            "SELECT number AS id, hex(MD5(toString(number))) AS word FROM numbers(30000)"
        )

    def change(self, attempt: int) -> None:
        self._engine.execute(
            f"INSERT INTO {self._database}.noise SELECT {attempt}, 'more' FROM numbers(300)"
        )

    def hash(self, name: str = "noise") -> object:
        query = f"SELECT count(), sum(cityHash64(*)) FROM {self._database}.{name}"
        return self._engine.rows(query)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("seed", Sample.of(metafunc.config).instants("sweep"))


@dataclass(frozen=True, slots=True)
class Mortal:
    """Servers that no other test uses, since they are killed."""

    postgres: PostgresServer
    seaweed: SeaweedServer
    clickhouse: ClickhouseServer


@pytest.fixture(scope="module")
def mortal(server_folder: Path) -> Iterator[Mortal]:
    with (
        PostgresServer(server_folder / "mortal", 17) as postgres,
        SeaweedServer(server_folder / "mortal-s3") as seaweed,
        ClickhouseServer(server_folder / "mortal-clickhouse") as clickhouse,
    ):
        yield Mortal(postgres, seaweed, clickhouse)


@pytest.fixture
def host(mortal: Mortal, server_folder: Path, tools: Forked) -> Iterator[Host]:
    bucket = f"mortal-{next(_NUMBERS)}"
    mortal.seaweed.create_bucket(bucket)
    with host_beside(server_folder, mortal.postgres, mortal.seaweed, bucket, tools) as made:
        yield made
        mortal.clickhouse.execute(f"DROP DATABASE IF EXISTS {made.database} SYNC")
    mortal.seaweed.delete_bucket(bucket)


def test_what_is_killed_at_any_instant_is_healed_by_the_next_run(
    host: Host, mortal: Mortal, seed: int
) -> None:
    chance = random.Random(seed)
    tables: list[Noise] = [OfPostgres(host)]
    if seed % 2:
        tables.append(OfClickhouse(host, mortal.clickhouse))
    host.configure(
        max_base_snapshots_s3=1, max_incremental_snapshots_s3=1, max_incremental_snapshots_local=0
    )
    for attempt in range(3):
        for table in tables:
            table.change(attempt)
        kill_in_the_middle(host, [table.server for table in tables], chance)
    then = [table.hash() for table in tables]
    host.good("tb-discover | tb-snapshot --incremental | tb-upload | tb-rotate")
    host.good("tb-run")
    nothing_is_left_behind(host)
    host.wipe()
    for table, content in zip(tables, then, strict=True):
        everything_listed_restores(host, table, content)


def kill_in_the_middle(host: Host, servers: Sequence[Server], chance: random.Random) -> None:
    """Kill something during a run. Start killed servers again once every tool has ended."""
    with started(host, "/bin/sh", "-c", f"{{ {chance.choice(RUNS)}; }} > /dev/null 2>&1") as run:
        time.sleep(chance.uniform(0.2, 3))  # a random instant, no wait for something
        how = chance.choice((signal.SIGKILL, signal.SIGTERM))
        chance.choice(
            (
                lambda: os.killpg(run.pid, how),
                lambda: kill_one(chance.choice(members(run.pid) or [0]), how),
                host.s3.restart,
                *(server.kill for server in servers),
            )
        )()
    until(lambda: members(run.pid) == [], seconds=300)
    for server in servers:
        if not server.pid:
            server.start()


def kill_one(pid: int, how: signal.Signals) -> None:
    """Send the signal, unless the process has ended; pid 0 stands for none."""
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, how)


def nothing_is_left_behind(host: Host) -> None:
    assert not list(host.local_dir.rglob(".unfinished-*"))
    assert not [path for path in (host.local_dir / "journal").rglob("*") if path.is_file()]
    assert host.rows("select * from pg_replication_slots") == []
    assert "Uploads" not in store(host).client.list_multipart_uploads(Bucket=host.bucket)
    catalog = Catalog(store(host).storage)
    known = {
        place
        for source_type in ("postgres", "clickhouse")
        for carrier in catalog.carriers(source_type)
        for snapshot in catalog.snapshots(carrier)
        for place in places(catalog.manifest(carrier, snapshot))
    }
    keys = [entry.key for entry in store(host).keys("data/")]
    assert [key for key in keys if not key.startswith(tuple(known))] == []


def places(manifest: Manifest) -> Iterator[str]:
    """Yield the prefixes of the snapshot's data."""
    if manifest.carrier.startswith("postgres"):
        yield f"data/{path(manifest.carrier)}/{manifest.snapshot}/"
    else:
        yield from (
            f"{folder_key(manifest.carrier, link.folder)}/" for link in links(manifest.facts)
        )


def everything_listed_restores(host: Host, table: Noise, newest: object) -> None:
    (listed,) = host.good(f"tb-list --stored --json -s {table.id}").records
    for number, snapshot in enumerate(listed["snapshots"]):
        host.good(f"tb-restore --snapshot {snapshot['id']} --level3 r{number} {table.id}")
    assert table.hash(f"r{len(listed['snapshots']) - 1}") == newest
