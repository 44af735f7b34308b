"""Manifests in S3 without their data take no place of real snapshots, and are named."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.pipeline.conftest import Host, Outcome, store
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.snapshots import Manifest, SnapshotId

_NUMBERS = count(1)
CYCLE = "tb-discover | tb-snapshot --base | tb-upload"


@pytest.fixture
def shop(host: Host) -> Host:
    """A host with a table, of which one base lies in S3."""
    host.execute("create table orders as select generate_series(1, 3) as id")
    host.configure(max_base_snapshots_s3=3, max_incremental_snapshots_s3=40)
    host.good(CYCLE)
    return host


def manifests(host: Host) -> dict[str, bytes]:
    s3 = store(host)
    return {entry.key: s3.read(entry.key) for entry in s3.all_keys("manifests/")}


def forged(host: Host, *snapshots: SnapshotId) -> None:
    """Put manifests of these snapshots into the bucket, as the real one but without data."""
    body = next(iter(manifests(host).values()))
    real = Manifest.from_json(body, "")
    folder = next(iter(manifests(host))).rpartition("/")[0]
    for snapshot in snapshots:
        fake = replace(real, snapshot=snapshot)
        store(host).write(f"{folder}/{snapshot}.json", fake.to_json())


def at(**ahead: int) -> SnapshotId:
    """Return a base of so much later than now; up to a minute does not count as the future."""
    return SnapshotId(datetime.now(UTC).replace(microsecond=0) + timedelta(**ahead))


def shown(host: Host) -> dict[str, str]:
    """Return the kind and marks of each snapshot in the table of tb-list."""
    table = host.good(f"tb-list --stored --snapshots -s {host.table('orders')}").stdout
    rows = [line.split("  ") for line in table.splitlines() if line.startswith("  2")]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {name: kind for name, kind, *_ in cells}


def refused(outcome: Outcome) -> dict[str, Any]:
    assert outcome.status == 1, outcome.stderr
    (error,) = {json.dumps(record["error"]) for record in outcome.records if "error" in record}
    found: dict[str, Any] = json.loads(error)
    assert found["code"] == "rotate.hollow"
    return found


def test_forged_manifests_take_no_place_of_real_snapshots(shop: Host) -> None:
    (real,) = shown(shop)
    ahead = [at(days=1), at(days=2)]
    forged(shop, *(at(seconds=second) for second in range(5, 48)), *ahead)
    before = set(manifests(shop))
    error = refused(shop.sh("tb-discover | tb-rotate"))
    assert (
        f"{ahead[-1]} and 44 before it are hollow: backup_manifest.zst is not in S3"
        in error["message"]
    )
    assert "nothing of the carrier is removed" in error["message"]
    assert f"below s3://{shop.bucket}/host/manifests/postgres/cluster/" in error["hint"]
    assert refused(shop.sh("tb-discover | tb-rotate --dry-run")) == error
    assert set(manifests(shop)) == before
    kinds = shown(shop)
    assert kinds.pop(real) == "base"
    assert set(kinds.values()) == {"base, hollow"}
    status = shop.sh("tb-status")
    assert status.status == 1
    assert "are hollow: backup_manifest.zst is not in S3" in " ".join(status.stdout.split())
    shop.wipe()
    shop.good(f"tb-restore --snapshot {real} --level3 back {shop.table('orders')}")


def test_every_run_fails_until_the_manifests_are_gone_and_builds_on_none(shop: Host) -> None:
    (real,) = shown(shop)
    forged(shop, *(at(seconds=second) for second in range(5, 9)))
    refused(shop.sh("tb-discover | tb-rotate"))
    (planned,) = shop.good("tb-discover | tb-plan").records
    assert (planned["newest"], planned["todo"]) == (real, ["rotated_s3"])
    shop.good("tb-discover | tb-snapshot --incremental")
    run = shop.sh("tb-run")
    assert run.status == 1
    assert "are hollow" in run.stdout
    s3 = store(shop)
    s3.delete(key for key in manifests(shop) if key.endswith("-base.json") and real not in key)
    shop.good("tb-run")
    assert shop.good("tb-status").stdout.startswith("OK")
    assert list(shown(shop).values()) == ["base", "incremental"]
    assert not list(shop.local_dir.glob("cache/*/hollow/**/*.json"))


def test_what_a_lifecycle_rule_took_is_sent_again_from_this_host_or_taken_anew(shop: Host) -> None:
    """The host still has the newest base, and the base before it is gone for good."""
    shop.configure(max_base_snapshots_s3=2, max_base_snapshots_local=1)
    shop.good(f"{CYCLE} | tb-rotate")
    taken = shown(shop)
    s3 = store(shop)
    s3.delete([entry.key for entry in s3.all_keys("data/")])
    shop.good(CYCLE)
    refused(shop.sh("tb-discover | tb-rotate"))
    lost, here, newest = shown(shop)
    assert [lost, here] == list(taken)
    assert shown(shop) == {lost: "base, hollow", here: "base, hollow", newest: "base"}
    resent = shop.good("tb-discover | tb-upload").records[0]
    assert resent["uploaded"]["snapshots"] == [here]
    shop.good("tb-discover | tb-rotate")
    assert shown(shop) == {here: "base", newest: "base"}
    shop.wipe()
    for number, snapshot in enumerate((here, newest)):
        shop.good(f"tb-restore --snapshot {snapshot} --level3 o{number} {shop.table('orders')}")


def test_what_builds_on_a_hollow_base_is_broken_and_the_next_run_takes_a_base(shop: Host) -> None:
    shop.good("tb-discover | tb-snapshot --incremental | tb-upload")
    base, child = shown(shop)
    shop.wipe()
    s3 = store(shop)
    s3.delete([entry.key for entry in s3.all_keys("data/") if f"/{base}/s3.pack" in entry.key])
    assert shown(shop) == {base: "base, hollow", child: "incremental, broken"}
    (record,) = shop.good("tb-list --stored --snapshots --json").records
    first, second = record["snapshots"]
    assert first["hollow"].startswith("s3.pack is not in S3")
    assert base.startswith(second["missing"].translate({ord("-"): None, ord(":"): None}))
    forged(shop, *(at(seconds=second) for second in range(5, 9)))
    refused(shop.sh("tb-discover | tb-rotate"))
    (planned,) = shop.good("tb-discover | tb-plan").records
    assert (planned["take"], planned["why"]) == ("base", f"a parent of {child} is gone")


def test_what_has_data_but_is_from_the_future_rotates_no_real_snapshot(shop: Host) -> None:
    """Its content is not looked at: that a forger can fill it is what a drill is for."""
    shop.configure(max_base_snapshots_s3=1, max_base_snapshots_local=0)
    (real,) = shown(shop)
    ahead = at(days=300)
    forged(shop, ahead, at(days=200))
    s3 = store(shop)
    for entry in list(s3.all_keys("data/")):
        s3.write(entry.key.replace(real, str(ahead)), b"x" * entry.size)
    (removed,) = shop.good("tb-discover | tb-rotate").records[0]["removed"]["s3"]
    assert removed not in (real, str(ahead))
    assert list(shown(shop)) == [real, str(ahead)]


def test_the_data_is_listed_only_where_something_is_to_be_removed(shop: Host) -> None:
    asked: list[str] = []

    def note(request: Request, forward: Forward) -> Answer:
        if "prefix=host%2Fdata" in request.path and "delimiter" not in request.path:
            asked.append(request.path)
        return forward()

    with proxy(shop.s3.endpoint, note) as endpoint:
        shop.configure(s3_endpoint=endpoint, max_base_snapshots_s3=1)
        shop.good("tb-discover | tb-rotate")
        shop.good("tb-status")
        shop.good("tb-discover --stored")
        assert asked == []
        shop.good(f"{CYCLE} | tb-rotate")
    looked = [path for path in asked if "-base" not in path]
    assert len(looked) == 1


@pytest.fixture
def hits(host: Host, clickhouse: ClickhouseServer) -> Iterator[str]:
    """The id of a table in ClickHouse, of which two bases lie in S3."""
    database = f"hollow{next(_NUMBERS)}"
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(
        f"CREATE TABLE {database}.hits ENGINE MergeTree ORDER BY id AS SELECT 1 AS id"
    )
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    hits = f"clickhouse/table/default/{database}/hits"
    for _ in range(2):
        host.good(f"tb-discover -s {hits} | tb-snapshot --base")
    yield hits
    clickhouse.execute(f"DROP DATABASE {database} SYNC")


def test_what_clickhouse_wrote_is_looked_at_as_well(host: Host, hits: str) -> None:
    (record,) = host.good(f"tb-list --stored --snapshots --json -s {hits}").records
    old, new = (snapshot["id"] for snapshot in record["snapshots"])
    host.good(f"tb-discover -s {hits} | tb-snapshot --incremental")
    host.configure(max_base_snapshots_s3=1, max_incremental_snapshots_s3=0)
    s3 = store(host)
    (key, *_) = [
        entry.key for entry in s3.all_keys("data/") if new in entry.key and "bin" in entry.key
    ]
    body = s3.read(key)
    s3.delete([key])
    error = refused(host.sh(f"tb-discover -s {hits} | tb-rotate"))
    assert f"{new} is hollow" in error["message"]
    (planned,) = host.good(f"tb-discover -s {hits} | tb-plan").records
    assert (planned["newest_base"], planned["take"]) == (old, "base")
    s3.write(key, body)
    (rotated,) = host.good(f"tb-discover -s {hits} | tb-rotate").records
    assert old in rotated["removed"]["s3"]
    host.good(f"tb-restore --level3 back {hits}")
