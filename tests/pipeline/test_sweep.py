"""Whatever is killed at whatever instant: the next run ends well, and all that is listed restores.

`--seeds N` tries more instants than the few that are tried each time.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests.pipeline.conftest import Host, host_beside
from tests.pipeline.test_failures import HASH, members, started, store, until
from three_backup.demo.servers import PostgresServer, SeaweedServer

VICTIMS = ("everything", "one process", "PostgreSQL", "S3")
_NUMBERS = count(1)
FORCED = "tb-discover | tb-snapshot {} | tb-upload | tb-rotate"
RUNS = ("tb-run", FORCED.format("--incremental"), FORCED.format("--base"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))


@pytest.fixture(scope="module")
def mortal(server_folder: Path) -> Iterator[tuple[PostgresServer, SeaweedServer]]:
    """Servers that nobody else needs."""
    with (
        PostgresServer(server_folder / "mortal", 17) as postgres,
        SeaweedServer(server_folder / "mortal-s3") as seaweed,
    ):
        yield postgres, seaweed


@pytest.fixture
def host(mortal: tuple[PostgresServer, SeaweedServer], server_folder: Path) -> Iterator[Host]:
    postgres, seaweed = mortal
    bucket = f"mortal-{next(_NUMBERS)}"
    seaweed.create_bucket(bucket)
    with host_beside(server_folder, postgres, seaweed, bucket) as made:
        yield made
    seaweed.delete_bucket(bucket)


def test_what_is_killed_at_any_instant_is_healed_by_the_next_run(host: Host, seed: int) -> None:
    chance = random.Random(seed)
    host.execute(
        "create table noise as select i as id, md5(i::text) as word"
        " from generate_series(1, 30000) i"
    )
    host.configure(
        max_base_snapshots_s3=1, max_incremental_snapshots_s3=1, max_incremental_snapshots_local=0
    )
    for attempt in range(3):
        host.execute(f"update noise set word = md5(word) where id % 50 = {attempt}")
        kill_in_the_middle(host, chance)
    then = host.rows(HASH)
    host.good("tb-discover | tb-snapshot --incremental | tb-upload | tb-rotate")
    host.good("tb-run")
    nothing_is_left_behind(host)
    host.wipe()
    everything_listed_restores(host, then)


def kill_in_the_middle(host: Host, chance: random.Random) -> None:
    """A server that was killed is there again when everybody has given it up."""
    with started(host, "/bin/sh", "-c", f"{{ {chance.choice(RUNS)}; }} > /dev/null 2>&1") as run:
        time.sleep(chance.uniform(0.2, 3))  # the instant is what is tried, not waited for
        how = chance.choice((signal.SIGKILL, signal.SIGTERM))
        victim = chance.choice(VICTIMS)
        if victim == "everything":
            os.killpg(run.pid, how)
        elif victim == "one process":
            with suppress(IndexError, ProcessLookupError):  # it has ended before the instant
                os.kill(chance.choice(members(run.pid)), how)
        elif victim == "PostgreSQL":
            host.server.kill()
        else:
            host.s3.restart()
    until(lambda: members(run.pid) == [], seconds=300)
    if not host.server.pid:
        host.server.start()


def nothing_is_left_behind(host: Host) -> None:
    assert not list(host.local_dir.rglob(".unfinished-*"))
    assert not list((host.local_dir / "journal").rglob("*.journal"))
    assert host.rows("select * from pg_replication_slots") == []
    keys = [one.key.split("/") for one in store(host).keys("")]
    manifests = {key[-1].removesuffix(".json") for key in keys if key[0] == "manifests"}
    assert "Uploads" not in store(host).client.list_multipart_uploads(Bucket=host.bucket)
    assert {key[-2] for key in keys if key[0] == "data"} == manifests


def everything_listed_restores(host: Host, newest: object) -> None:
    snapshots = host.good("tb-list --stored --json").records[0]["snapshots"]
    for number, snapshot in enumerate(snapshots):
        host.good(
            f"tb-restore --snapshot {snapshot['id']} --level3 r{number} {host.table('noise')}"
        )
    assert host.rows(HASH.replace("noise", f"r{len(snapshots) - 1}")) == newest
