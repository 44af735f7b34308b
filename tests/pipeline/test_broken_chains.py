"""A snapshot is gone that others build on: which cannot be restored is seen, and runs mend it."""

from itertools import count
from typing import Any

from tests.pipeline.conftest import Host, both_versions, store
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.snapshots import SnapshotId, rfc3339

_NUMBERS = count(1)


def lose(host: Host, snapshot: str) -> str:
    """Remove a snapshot's manifest from S3; return when the snapshot was taken."""
    s3 = store(host)
    for key in [entry.key for entry in s3.all_keys("manifests/") if f"/{snapshot}" in entry.key]:
        s3.delete([key])
    parsed = SnapshotId.parse(snapshot)
    assert parsed is not None
    return rfc3339(parsed.time)


def taken(host: Host, selector: str, *kinds: str) -> list[str]:
    """Take snapshots of these kinds, leave them in S3 alone, and return their ids."""
    ids = []
    for kind in kinds:
        line = f"tb-discover -s '{selector}' | tb-snapshot --{kind} | tb-upload"
        ids.append(host.good(line).records[0]["snapshot"]["id"])
    host.wipe()
    return ids


def listed(host: Host, object_id: str) -> dict[str, Any]:
    (record,) = host.good(f"tb-list --stored --snapshots --json -s {object_id}").records
    return {snapshot["id"]: snapshot.get("missing") for snapshot in record["snapshots"]}


def lines(text: str, of: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if of in line]


@both_versions
def test_a_hole_is_shown_and_refused_and_the_next_run_begins_anew(host: Host) -> None:
    host.execute("create table orders as select 1 as id")
    orders = host.table("orders")
    (cluster,) = {record["carrier"] for record in host.good("tb-discover").records}
    before, base, first, second, last = taken(
        host, "postgres", "base", "base", "incremental", "incremental", "incremental"
    )
    gone = lose(host, second)
    assert listed(host, orders) == {before: None, base: None, first: None, last: gone}

    table = host.good(f"tb-list --stored --snapshots -s {orders}").stdout
    assert [row[1:3] for row in lines(table, "-incr-")] == [
        ["incremental", row[2]] if row[0] == first else ["incremental,", "broken"]
        for row in lines(table, "-incr-")
    ]
    status = host.sh("tb-status")
    assert (status.status, "base+1" in status.stdout) == (1, True)
    sentence = f"{last} cannot be restored: that of {second[:16]}, on which it builds, is gone"
    shown = " ".join(status.stdout.split())
    assert f"{cluster}: {sentence}; the newest that can is {first}" in shown

    until = SnapshotId.parse(last)
    assert until is not None
    for line in (
        f"tb-restore --level3 back {orders}",
        f"tb-restore --level3 back --dry-run {orders}",
        f"tb-restore --level3 back --at {rfc3339(until.time)} {orders}",
        f"tb-restore --pgdata {host.folder}/data {cluster}",
        f"tb-verify {orders}",
    ):
        refused = host.sh(line)
        assert (refused.status, refused.records[0]["error"]["code"]) == (1, "catalog.broken_chain")
        assert sentence in refused.stderr
        assert f"{first}: tb-restore --snapshot {first}" in refused.stderr
    host.good(f"tb-restore --level3 back --snapshot {first} {orders}")
    (rotated,) = host.good(f"tb-discover -s {orders} | tb-rotate --dry-run").records
    (reason,) = [said["reason"] for said in rotated["verdicts"] if said["snapshot"] == last]
    assert reason.endswith(f"is gone, yet nothing newer than {first} can be restored")

    (planned,) = host.good(f"tb-discover -s {orders} | tb-plan").records
    assert (planned["take"], planned["why"]) == ("base", f"a parent of {last} is gone")
    host.execute("insert into orders values (2)")
    host.good("tb-run")
    missing = listed(host, orders)
    assert (last in missing, set(missing.values())) == (False, {None})
    host.good(f"tb-verify {orders}")
    assert host.good("tb-status").stdout.startswith("OK")
    host.good(f"tb-restore --level3 anew {orders}")
    assert host.rows("select count(*) from anew") == [(2,)]


def test_a_hole_behind_a_whole_base_breaks_only_what_needs_it(host: Host) -> None:
    host.execute("create table orders as select 1 as id")
    orders = host.table("orders")
    base, first, second, later, last = taken(
        host, "postgres", "base", "incremental", "incremental", "base", "incremental"
    )
    gone = lose(host, first)
    assert listed(host, orders) == {base: None, second: gone, later: None, last: None}
    status = host.sh("tb-status")
    assert (status.status, "base+1" in status.stdout) == (1, True)
    assert f"the newest that can is {last}" in " ".join(status.stdout.split())
    (planned,) = host.good(f"tb-discover -s {orders} | tb-plan").records
    assert planned["take"] is None
    (record,) = host.good(f"tb-restore --level3 back {orders}").records
    assert record["restored"]["snapshot"] == last
    at = SnapshotId.parse(second)
    assert at is not None
    refused = host.sh(f"tb-restore --level3 old --at {rfc3339(at.time)} {orders}")
    assert f"the newest of that time that can be is {base}" in refused.stderr
    host.good("tb-discover | tb-plan | tb-snapshot | tb-upload | tb-rotate")
    assert host.good("tb-status").stdout.startswith("OK")


def test_a_time_before_the_oldest_snapshot_names_the_oldest(host: Host) -> None:
    host.execute("create table orders as select 1 as id")
    base, _ = taken(host, "postgres", "base", "base")
    (cluster,) = {record["carrier"] for record in host.good("tb-discover").records}
    for line in (
        f"tb-restore --at 2020-02-02 {host.table('orders')}",
        f"tb-restore --at 2020-02-02 'postgres/*/{host.database}/*'",
        f"tb-discover -s {host.table('orders')} | tb-restore --at 2020-02-02",
        f"tb-restore --at 2020-02-02 --pgdata {host.folder}/data {cluster}",
    ):
        refused = host.sh(line)
        assert refused.status == 1
        assert "no snapshot is as old as 2020-02-0" in refused.stderr
        assert f"the oldest that can be restored is {base}" in refused.stderr
        moment = SnapshotId.parse(base)
        assert moment is not None
        assert f"--at {rfc3339(moment.time)}" in refused.stderr


def test_of_clickhouse_a_hole_is_shown_and_refused_too(
    host: Host, clickhouse: ClickhouseServer
) -> None:
    database = f"holed{next(_NUMBERS)}"
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(
        f"CREATE TABLE {database}.hits ENGINE MergeTree ORDER BY id AS SELECT 1 AS id"
    )
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    hits = f"clickhouse/table/default/{database}/hits"
    base, first, second = taken(host, hits, "base", "incremental", "incremental")
    gone = lose(host, first)
    assert listed(host, hits) == {base: None, second: gone}
    for line in (f"tb-restore --level3 back {hits}", f"tb-verify {hits}"):
        refused = host.sh(line)
        assert (refused.status, refused.records[0]["error"]["code"]) == (1, "catalog.broken_chain")
        assert f"tb-restore --snapshot {base}" in refused.stderr
    (planned,) = host.good(f"tb-discover -s {hits} | tb-plan").records
    assert (planned["take"], planned["why"]) == ("base", f"a parent of {second} is gone")
    host.good(f"tb-run -s {hits}")
    host.good(f"tb-restore --level3 back {hits}")
    host.good(f"tb-verify {hits}")
    assert host.good(f"tb-status -s {hits}").stdout.startswith("OK")
    clickhouse.execute(f"DROP DATABASE {database} SYNC")
