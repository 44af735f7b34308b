"""Whatever is killed at whatever instant: the next run ends well, and all that is listed restores.

`--seeds N` tries more instants than the few that are tried each time.
"""

import os
import random
import signal
import time

import pytest

from tests.pipeline.conftest import Host
from tests.pipeline.test_failures import HASH, members, started, store, until

FORCED = "tb-discover | tb-snapshot {} | tb-upload | tb-rotate"
RUNS = ("tb-run", FORCED.format("--incremental"), FORCED.format("--base"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))


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
    with started(host, "/bin/sh", "-c", f"{{ {chance.choice(RUNS)}; }} > /dev/null 2>&1") as run:
        time.sleep(chance.uniform(0.2, 3))  # the instant is what is tried, not waited for
        os.killpg(run.pid, chance.choice((signal.SIGKILL, signal.SIGTERM)))
    until(lambda: members(run.pid) == [])


def nothing_is_left_behind(host: Host) -> None:
    assert not list(host.local_dir.rglob(".unfinished-*"))
    assert not list((host.local_dir / "journal").rglob("*.journal"))
    assert host.rows("select * from pg_replication_slots") == []
    keys = [one.key.split("/") for one in store(host).keys("")]
    manifests = {key[-1].removesuffix(".json") for key in keys if key[0] == "manifests"}
    assert {key[-2] for key in keys if key[0] == "data"} == manifests


def everything_listed_restores(host: Host, newest: object) -> None:
    snapshots = host.good("tb-list --stored --json").records[0]["snapshots"]
    for number, snapshot in enumerate(snapshots):
        host.good(
            f"tb-restore --snapshot {snapshot['id']} --level3 r{number} {host.table('noise')}"
        )
    assert host.rows(HASH.replace("noise", f"r{len(snapshots) - 1}")) == newest
