"""What is written is locked: nobody who holds this host's keys can destroy it before its time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.lab import versioned
from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from tests.lab.forked import Forked
from tests.pipeline.conftest import Host, host_beside, store
from tests.pipeline.test_copy import with_vault
from tests.pipeline.test_on_terminal import screen
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

_NUMBERS = count(1)
TAKE = "tb-discover -s postgres | tb-snapshot {} | tb-upload"
_DAYS = 8


@pytest.fixture
def locked(
    server_folder: Path, postgres17: PostgresServer, seaweed: SeaweedServer, tools: Forked
) -> Iterator[Host]:
    """A host with a table, and a bucket with Object Lock."""
    bucket = f"locked-{next(_NUMBERS)}"
    versioned.create_locked(seaweed, bucket)
    with host_beside(server_folder, postgres17, seaweed, bucket, tools) as host:
        host.configure(lock_days=_DAYS)
        host.execute("create table orders as select n as id from generate_series(1, 100) n")
        yield host
    seaweed.delete_bucket(bucket)


def locks(host: Host, prefix: str = "") -> dict[str, datetime | None]:
    """Return the end of the lock of each key below the host's prefix."""
    found = versioned.locks(host.s3, host.bucket, f"host/{prefix}")
    return {key.removeprefix("host/"): until for key, until in found}


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_all_of_a_snapshot_is_locked_and_what_is_rewritten_is_not(locked: Host) -> None:
    locked.good("tb-run")
    found = locks(locked)
    assert {key.split("/")[0] for key, until in found.items() if until} == {"data", "manifests"}
    assert {key for key, until in found.items() if not until} == {"owner.json"}
    for until in filter(None, found.values()):
        assert in_days(_DAYS - 0.1) < until < in_days(_DAYS + 0.1)


def test_an_incremental_locks_what_it_builds_on_as_long_as_itself(locked: Host) -> None:
    locked.configure(lock_days=2)
    locked.good(TAKE.format("--base"))
    base = locks(locked)
    locked.configure(lock_days=_DAYS)
    locked.good(TAKE.format("--incremental"))
    found = locks(locked)
    ends = [until for until in found.values() if until]
    assert min(ends) > in_days(_DAYS - 0.1)
    lasting = [found[key] for key, until in base.items() if until]
    assert max(filter(None, lasting)) < in_days(_DAYS * 1.25 + 0.1)


def test_the_locks_of_parents_are_not_made_longer_by_each_incremental(locked: Host) -> None:
    extended: list[str] = []

    def watch(request: Request, forward: Forward) -> Answer:
        if request.is_("PUT", "retention"):
            extended.append(request.path)
        return forward()

    with proxy(locked.s3.endpoint, watch) as endpoint:
        locked.configure(lock_days=2, s3_endpoint=endpoint)
        locked.good(TAKE.format("--base"))
        locked.configure(lock_days=_DAYS, s3_endpoint=endpoint)
        assert extended == []
        locked.good(TAKE.format("--incremental"))
        keys = [key for key in locks(locked) if "-base" in key]
        assert sorted(path.partition("?")[0].partition("/host/")[2] for path in extended) == keys
        extended.clear()
        locked.good(TAKE.format("--incremental"))
        assert extended
        assert not any("-base" in path for path in extended)


@pytest.mark.parametrize("host", ["postgres17"], indirect=True)
def test_a_bucket_without_locks_takes_no_snapshot_and_says_so(host: Host) -> None:
    host.execute("create table orders (id int)")
    host.configure(lock_days=1)
    outcome = host.sh("tb-run")
    assert outcome.status == 1
    assert "the bucket takes no lock" in outcome.stderr
    assert "make a bucket with Object Lock, or take lock_days out" in outcome.stderr
    assert list(store(host).all_keys("manifests/")) == []
    host.configure()
    host.good("tb-run")


def test_a_store_that_passes_over_locks_is_found_out(locked: Host) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        if request.is_("PUT", "retention"):
            return Answer(200, {}, b"")
        answer = forward()
        others = {name for name in answer.headers if "lock-" not in name.lower()}
        told = {name: answer.headers[name] for name in others}
        return Answer(answer.status, told, answer.body)

    with proxy(locked.s3.endpoint, meddle) as endpoint:
        locked.configure(lock_days=_DAYS, s3_endpoint=endpoint)
        outcome = locked.sh("tb-run")
    assert outcome.status == 1
    assert "it is not locked, though lock_days: 8 asks for more" in outcome.stderr
    assert list(store(locked).all_keys("manifests/")) == []


def test_a_key_that_may_not_lock_is_told_which_right_it_lacks(locked: Host) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        asks = any(name.lower() == "x-amz-object-lock-mode" for name in request.headers)
        return refusal(403, "AccessDenied") if asks else forward()

    with proxy(locked.s3.endpoint, meddle) as endpoint:
        locked.configure(lock_days=_DAYS, s3_endpoint=endpoint)
        outcome = locked.sh("tb-run")
    assert outcome.status == 1
    assert "s3:PutObjectRetention" in outcome.stderr


def test_what_a_server_writes_itself_is_locked_after_it(
    locked: Host, clickhouse: ClickhouseServer
) -> None:
    environ, database = clickhouse.environ, f"locked{next(_NUMBERS)}"
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(
        f"CREATE TABLE {database}.hits ENGINE MergeTree ORDER BY id AS "
        "SELECT number AS id FROM numbers(1000)"
    )
    path = f"{clickhouse.bindir}:{locked.environ['PATH']}"
    locked.environ.update({**environ, "PATH": path})
    take = "tb-discover -s clickhouse/table | tb-snapshot"
    locked.good(f"{take} --base")
    found = locks(locked, "data/clickhouse/")
    assert len(found) > 3
    assert all(until and until > in_days(_DAYS - 0.1) for until in found.values())
    clickhouse.execute(f"INSERT INTO {database}.hits VALUES (2000)")
    locked.configure(lock_days=_DAYS * 2)
    locked.good(f"{take} --incremental")
    found = locks(locked, "data/clickhouse/")
    assert all(until and until > in_days(_DAYS * 2 - 0.1) for until in found.values())
    locked.wipe()
    clickhouse.execute(f"DROP TABLE {database}.hits SYNC")
    locked.good("tb-discover --stored -s clickhouse | tb-restore")
    assert clickhouse.rows(f"SELECT count() FROM {database}.hits") == [(1001,)]
    clickhouse.execute(f"DROP DATABASE {database} SYNC")


def test_a_server_that_locks_less_strictly_is_told_apart(
    locked: Host, clickhouse: ClickhouseServer
) -> None:
    """Its keys get the default retention of the bucket, and no other mode afterwards."""
    database = f"locked{next(_NUMBERS)}"
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(f"CREATE TABLE {database}.hits (id Int64) ENGINE MergeTree ORDER BY id")
    path = f"{clickhouse.bindir}:{locked.environ['PATH']}"
    locked.environ.update({**clickhouse.environ, "PATH": path})
    take = f"tb-discover -s 'clickhouse/table/*/{database}/*' | tb-snapshot --base"
    for mode in ("GOVERNANCE", "COMPLIANCE"):
        rule = {"DefaultRetention": {"Mode": mode, "Days": _DAYS}}
        versioned.owner(locked.s3).put_object_lock_configuration(
            Bucket=locked.bucket,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )
        locked.configure(lock_days=_DAYS, lock_mode="compliance")
        outcome = locked.sh(take)
        assert outcome.status == (1 if mode == "GOVERNANCE" else 0)
        assert ("can lift its lock" in outcome.stderr) is (mode == "GOVERNANCE")
        locked.wipe()
    clickhouse.execute(f"DROP DATABASE {database} SYNC")


def test_a_log_outlasts_the_snapshot_that_it_leads_on_from(locked: Host) -> None:
    locked.configure(lock_days=_DAYS, wal="pull")
    locked.good("tb-run")
    locked.execute("insert into orders values (101)")
    locked.good("tb-wal pull")
    found = locks(locked, "wal/")
    pieces = [until for key, until in found.items() if key.endswith(".zst")]
    assert pieces
    assert min(filter(None, pieces)) > in_days(_DAYS + 0.9)
    assert [until for key, until in found.items() if "reached" in key] == [None]
    manifests = [until for until in locks(locked, "manifests/").values() if until]
    assert min(filter(None, pieces)) > max(manifests)


def listed(host: Host) -> list[str]:
    (record,) = host.sh("tb-list --stored --snapshots --json -s postgres").records
    return [str(each["id"]) for each in record["snapshots"]]


def test_what_is_locked_stays_listed_until_its_lock_ends(locked: Host) -> None:
    locked.good(TAKE.format("--base"))
    locked.good(TAKE.format("--incremental"))
    locked.good(TAKE.format("--base"))
    before = listed(locked)
    few: dict[str, Any] = {f"max_incremental_snapshots_{place}": 0 for place in ("local", "s3")}
    locked.configure(**few, lock_days=_DAYS, max_base_snapshots_s3=1)
    verdicts = locked.good("tb-discover -s postgres | tb-rotate --dry-run").records[0]["verdicts"]
    reasons = [each["reason"] for each in verdicts if each["place"] == "s3"]
    assert sum(reason.startswith("locked until ") for reason in reasons) == 2
    (record,) = locked.good("tb-discover -s postgres | tb-rotate").records
    assert record["removed"]["s3"] == []
    assert [each["snapshot"] for each in record["removed"]["locked"]] == before[:2]
    assert listed(locked) == before
    (planned,) = locked.good("tb-discover -s postgres | tb-plan").records
    assert planned["todo"] == []  # nothing is left to do until then
    locked.wipe()  # what was remembered of locks is gone, too
    (again,) = locked.good("tb-discover -s postgres | tb-rotate").records
    assert len(again["removed"]["locked"]) == 2
    unlock(locked)
    locked.wipe()
    (record,) = locked.good("tb-discover -s postgres | tb-rotate").records
    assert "locked" not in record["removed"]
    assert len(record["removed"]["s3"]) == 2
    assert listed(locked) == before[2:]
    hidden = versioned.versions(locked.s3, locked.bucket, "host/manifests/")
    assert len(hidden) == 3  # a lifecycle rule of the bucket removes them


def test_the_table_of_a_rotation_tells_how_long_locks_last(locked: Host) -> None:
    locked.configure(lock_days=_DAYS, max_base_snapshots_s3=1)
    locked.good(TAKE.format("--base"))
    locked.good(TAKE.format("--base"))
    locked.good("tb-discover -s postgres > records")
    text = "\n".join(screen(locked, f"tb-rotate < {locked.folder}/records"))
    assert f"1 until {in_days(_DAYS):%Y-%m-%d}" in text


def test_locked_pieces_of_the_log_are_left_alone(locked: Host) -> None:
    locked.configure(lock_days=_DAYS, wal="pull", max_base_snapshots_s3=1)
    locked.good("tb-run")
    locked.good("tb-wal pull")
    pieces = [key for key in locks(locked, "wal/") if key.endswith(".zst")]
    locked.execute("insert into orders values (101)")
    locked.execute("select pg_switch_wal()")
    locked.good("tb-wal pull")
    locked.good(TAKE.format("--base"))
    unlock(locked)
    locked.wipe()
    (record,) = locked.good("tb-discover -s postgres | tb-rotate").records
    assert len(record["removed"]["s3"]) == 1
    assert "wal" not in record["removed"]
    locked.configure(wal="pull", max_base_snapshots_s3=1)  # as if lock_days were over
    (record,) = locked.good("tb-discover -s postgres | tb-rotate").records
    assert record["removed"]["wal"]["keys"] >= len(pieces)


def unlock(host: Host) -> None:
    """End the locks of all that is there, as who has the right to can, and as time does."""
    owner = versioned.owner(host.s3)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": soon}
    for key, until in versioned.locks(host.s3, host.bucket):
        if until:
            owner.put_object_retention(
                Bucket=host.bucket, Key=key, Retention=retention, BypassGovernanceRetention=True
            )
    while datetime.now(UTC) <= soon:
        time.sleep(0.1)


def test_a_hold_locks_all_that_it_needs_until_it_ends(locked: Host) -> None:
    locked.good(TAKE.format("--base"))
    locked.good(TAKE.format("--incremental"))
    locked.good(f"tb-keep --until {_DAYS * 2}d {locked.table('orders')}")
    ends = [until for until in locks(locked).values() if until]
    assert min(ends) > in_days(_DAYS * 2 - 0.1)
    locked.good(f"tb-keep {locked.table('orders')}")
    assert [until for until in locks(locked).values() if until] == ends
    assert {until for key, until in locks(locked, "keep/").items()} == {None}


def test_parents_that_cannot_be_locked_leave_no_snapshot_and_are_locked_by_the_next_run(
    locked: Host,
) -> None:
    locked.configure(lock_days=2)
    locked.good(TAKE.format("--base"))

    def meddle(request: Request, forward: Forward) -> Answer:
        fails = request.is_("PUT", "retention") and "/manifests/" in request.path
        return refusal(403, "AccessDenied") if fails else forward()

    with proxy(locked.s3.endpoint, meddle) as endpoint:
        locked.configure(lock_days=_DAYS, s3_endpoint=endpoint)
        outcome = locked.sh(TAKE.format("--incremental"))
    assert outcome.status == 1
    assert "s3:PutObjectRetention" in outcome.stderr
    locked.configure(lock_days=_DAYS)
    assert len(list(store(locked).all_names("manifests/"))) == 1
    locked.good("tb-discover -s postgres | tb-upload")
    assert len(list(store(locked).all_names("manifests/"))) == 2
    ends = [until for until in locks(locked).values() if until]
    assert min(ends) > in_days(_DAYS - 0.1)


def test_copies_are_locked_as_their_store_says(locked: Host) -> None:
    vault = f"{locked.bucket}-vault"
    versioned.create_locked(locked.s3, vault)
    few = "lock_days: 20\n        max_base_snapshots_s3: 1"
    with_vault(locked, vault, few)
    locked.good(TAKE.format("--base"))
    assert not any(locks(locked).values())
    locked.good("tb-copy --to vault '*'")
    copied = [until for _, until in versioned.locks(locked.s3, vault) if until]
    assert len(copied) == len(locks(locked)) - 1  # all but owner.json
    assert min(copied) > in_days(19.9)
    locked.good(TAKE.format("--base"))
    (rotated,) = locked.good("tb-copy --json --rotate --to vault '*'").records
    assert len(rotated["copied"]["removed"]["locked"]) == 1
    (record,) = locked.good(
        "tb-list --stored --store vault --snapshots --json -s postgres"
    ).records
    assert len(record["snapshots"]) == 2
    locked.s3.delete_bucket(vault)
