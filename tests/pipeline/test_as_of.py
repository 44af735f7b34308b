"""What a thief overwrote or deleted in a bucket that keeps versions comes back, as of before."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from tests.lab import versioned
from tests.lab.forked import Forked
from tests.pipeline.conftest import Host, host_beside, store
from tests.pipeline.test_copy import with_vault
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

_NUMBERS = count(1)
_KEY = "3c" * 32


@pytest.fixture(scope="module")
def robbed(
    server_folder: Path, postgres17: PostgresServer, seaweed: SeaweedServer, tools: Forked
) -> Iterator[tuple[Host, dict[str, str]]]:
    """A host of which a base and an incremental were stored, and robbed in three steps; and the
    moments before each.
    """
    bucket = f"robbed-{next(_NUMBERS)}"
    versioned.create_versioned(seaweed, bucket)
    with host_beside(server_folder, postgres17, seaweed, bucket, tools) as host:
        host.configure(manifest_key=_KEY)
        host.execute("create table orders as select n as id from generate_series(1, 100) n")
        host.good("tb-discover -s postgres | tb-snapshot --base | tb-upload")
        host.execute("insert into orders values (101)")
        host.good("tb-discover -s postgres | tb-snapshot --incremental | tb-upload")
        moments = {"before": _moment()}
        names = list(store(host).all_names("manifests/"))
        for name in names:
            store(host).write(name, b"garbage")
        moments["manifests are garbage"] = _moment()
        for pack in [found.key for found in store(host).all_keys("data/") if "pack" in found.key]:
            store(host).write(pack, b"garbage")
        moments["packs are garbage"] = _moment()
        versioned_keys = list(store(host).all_names(""))
        store(host).delete(versioned_keys)
        host.wipe()
        host.execute("drop table orders")
        yield host, moments
    seaweed.delete_bucket(bucket)


def _moment() -> str:
    """Return a moment after all that was written; the times of versions are in whole seconds."""
    time.sleep(1.1)
    moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    time.sleep(1.1)
    return moment


Robbed = tuple[Host, dict[str, str]]


def test_nothing_is_left_now_and_after_each_step_less(robbed: Robbed) -> None:
    host, moments = robbed
    assert host.good("tb-list --stored").stdout == ""
    for moment in ("manifests are garbage", "packs are garbage"):
        outcome = host.sh(f"tb-cat --as-of {moments[moment]} {host.table('orders')}")
        assert (outcome.status, outcome.stdout) == (1, "")


def test_all_comes_back_as_of_before(robbed: Robbed) -> None:
    host, moments = robbed
    as_of = f"--as-of {moments['before']}"
    (found,) = host.good(f"tb-list --stored --snapshots --json {as_of} -s postgres").records
    assert [each["kind"] for each in found["snapshots"]] == ["base", "incremental"]
    assert found["as_of"] == moments["before"]
    assert not any(each.get("foreign") for each in found["snapshots"])
    rows = host.good(f"tb-cat {as_of} {host.table('orders')}").stdout.splitlines()
    assert sorted(map(int, rows[1:])) == list(range(1, 102))
    (drilled,) = host.good(f"tb-verify --json {as_of} '*'").records
    assert drilled["drilled"]["rows"] == 101
    early = host.good("tb-list --stored --as-of 2026-01-01T00:00:00Z").stderr
    assert "at 2026-01-01T00:00:00Z nothing was stored below" in early
    without = host.sh(f"tb-discover --stored {as_of} | tb-restore")
    assert without.status == 1
    assert f"read it so, too: tb-restore {as_of}" in without.stderr
    host.good(f"tb-discover --stored {as_of} | tb-restore {as_of}")
    assert host.rows("select count(*), sum(id) from orders") == [(101, 5151)]
    host.execute("drop table orders")
    assert not (host.local_dir / "cache").exists()  # nothing of the past passes for present
    assert list(store(host).all_names("")) == []


def test_copies_of_the_past_are_made_into_a_further_store(robbed: Robbed) -> None:
    host, moments = robbed
    vault = f"{host.bucket}-vault"
    host.s3.create_bucket(vault)
    with_vault(host, vault, f"manifest_key: {_KEY}", manifest_key=_KEY)
    (copied,) = host.good(f"tb-copy --json --to vault --as-of {moments['before']} '*'").records
    assert len(copied["copied"]["snapshots"]) == 2
    host.good(f"tb-restore --store vault {host.table('orders')}")
    assert host.rows("select count(*), sum(id) from orders") == [(101, 5151)]
    host.execute("drop table orders")
    host.s3.delete_bucket(vault)
    host.configure(manifest_key=_KEY)


@pytest.mark.parametrize("wrong", ["tomorrow", "2999-01-01"])
def test_a_moment_that_is_none_is_a_usage_error(host_of_module: Host, wrong: str) -> None:
    outcome = host_of_module.sh(f"tb-list --stored --as-of {wrong}")
    assert outcome.status == 2
    assert "--as-of" in outcome.stderr


def test_a_bucket_without_versions_is_told_in_a_sentence(host_of_module: Host) -> None:
    outcome = host_of_module.sh("tb-list --stored --as-of 2026-01-01")
    assert outcome.status != 0
    assert outcome.stderr.count("keeps no versions") == 1
    assert "Traceback" not in outcome.stderr
    assert host_of_module.sh("tb-list --as-of 2026-01-01").status == 2


def test_what_a_server_reads_itself_comes_back_through_a_further_store(
    server_folder: Path,
    postgres17: PostgresServer,
    seaweed: SeaweedServer,
    tools: Forked,
    clickhouse: ClickhouseServer,
) -> None:
    bucket, database = f"robbed-{next(_NUMBERS)}", f"robbed{next(_NUMBERS)}"
    versioned.create_versioned(seaweed, bucket)
    seaweed.create_bucket(f"{bucket}-vault")
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(
        f"CREATE TABLE {database}.hits ENGINE MergeTree ORDER BY id AS "
        "SELECT number AS id FROM numbers(1000)"
    )
    with host_beside(server_folder, postgres17, seaweed, bucket, tools) as host:
        path = f"{clickhouse.bindir}:{host.environ['PATH']}"
        host.environ.update({**clickhouse.environ, "PATH": path})
        with_vault(host, f"{bucket}-vault")
        host.good("tb-discover -s clickhouse/table | tb-snapshot --base")
        clickhouse.execute(f"INSERT INTO {database}.hits VALUES (2000)")
        host.good("tb-discover -s clickhouse/table | tb-snapshot --incremental")
        as_of = f"--as-of {_moment()}"
        versioned_keys = [found.key for found in store(host).all_keys("")]
        store(host).delete(versioned_keys)
        host.wipe()
        clickhouse.execute(f"DROP TABLE {database}.hits SYNC")
        refused = host.sh(f"tb-restore {as_of} 'clickhouse/table/*/{database}/hits'")
        assert refused.status == 1
        assert "tb-copy --as-of TIME --to NAME" in refused.stderr
        host.good(f"tb-copy --to vault {as_of} 'clickhouse/*'")
        host.good(f"tb-restore --store vault 'clickhouse/table/*/{database}/hits'")
    assert clickhouse.rows(f"SELECT count() FROM {database}.hits") == [(1001,)]
    clickhouse.execute(f"DROP DATABASE {database} SYNC")
    for name in (bucket, f"{bucket}-vault"):
        seaweed.delete_bucket(name)
