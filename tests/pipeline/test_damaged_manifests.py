"""A damaged manifest in S3 does not affect anything else that is stored there."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.pipeline.conftest import Host, Outcome, store
from three_backup.demo.clickhouse import ClickhouseServer

_NUMBERS = count(1)
_TABLES = ("api", "db", "web")


@pytest.fixture
def stored(host: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host with three ClickHouse tables, whose snapshots lie only in S3."""
    database = host.environ["VISITS"] = f"stored{next(_NUMBERS)}"
    clickhouse.execute(f"CREATE DATABASE {database}")
    for name in _TABLES:
        clickhouse.execute(
            f"CREATE TABLE {database}.{name} ENGINE MergeTree ORDER BY id AS "
            "SELECT number AS id FROM numbers(10)"
        )
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    host.good(f"tb-run -s 'clickhouse/*/{database}/*'")
    host.wipe()
    yield host
    clickhouse.execute(f"DROP DATABASE {database} SYNC")


def table(host: Host, name: str) -> str:
    return f"clickhouse/table/default/{host.environ['VISITS']}/{name}"


def damage(host: Host, part: str) -> str:
    """Damage the first manifest whose key contains the part; return its key."""
    s3 = store(host)
    key = min(entry.key for entry in s3.all_keys("manifests/") if part in entry.key)
    body = s3.read(key)
    s3.write(key, body[:60] + bytes([body[60] ^ 1]) + body[61:])
    return key


def failed(outcome: Outcome) -> dict[str, bool]:
    """Return whether each record failed; check that stderr has the message of each failure."""
    found: dict[str, dict[str, Any]] = {record["id"]: record for record in outcome.records}
    for record in found.values():
        assert "error" not in record or record["error"]["message"] in outcome.stderr
    return {object_id: "error" in record for object_id, record in found.items()}


def test_all_others_are_listed_and_restored(stored: Host) -> None:
    damage(stored, "/db/")
    all_three = {table(stored, name): name == "db" for name in _TABLES}
    for line in (
        "tb-list --stored --json",
        "tb-list --stored --snapshots --json",
        "tb-discover --stored",
        "tb-discover --stored | tb-restore --level3-suffix _1",
        "tb-restore --level3-suffix _2 'clickhouse/*'",
        f"tb-restore --level3-suffix _3 {' '.join(all_three)}",
    ):
        outcome = stored.sh(line)
        assert (outcome.status, failed(outcome)) == (1, all_three), line
    shown = stored.sh("tb-list --stored --snapshots")
    assert (shown.status, shown.stdout.count("failed")) == (1, 1)
    stored.good(f"tb-restore --level3-suffix _4 {table(stored, 'web')}")


def test_of_a_cluster_what_can_be_read_is_listed_and_restored(host: Host) -> None:
    host.execute("create table orders as select generate_series(1, 3) as id")
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    host.wipe()
    damage(host, "postgres/cluster/")
    orders = host.table("orders")
    (cluster,) = {record["carrier"] for record in host.good("tb-discover").records}
    for options in ("", "--snapshots", "--stages"):
        listed = host.sh(f"tb-list --stored --json {options}")
        assert (listed.status, failed(listed)) == (1, {cluster: True, orders: False})
        assert len(listed.records) == 2
    shown = host.sh(f"tb-list --snapshots -s {orders} < /dev/null")
    assert (shown.status, shown.stdout.count("failed")) == (1, 1)
    assert shown.stdout.count("-base ") == 1
    host.good(f"tb-restore --level3 back {orders}")
    assert host.rows("select count(*) from back") == [(3,)]


def test_a_cluster_is_watched_by_what_can_be_read(host: Host) -> None:
    host.execute("create table orders as select generate_series(1, 3) as id")
    host.good("tb-run")
    host.good("tb-discover | tb-snapshot --incremental | tb-upload")
    host.wipe()
    newest = damage(host, "-incr-")
    status = host.sh("tb-status")
    assert (status.status, status.stdout.split()[0]) == (1, "WARNING")
    assert newest in "".join(status.stdout.split())
    damage(host, "-base.json")
    assert host.sh("tb-status").status == 3


def test_of_what_is_not_selected_no_manifest_is_read(stored: Host) -> None:
    asked: list[str] = []

    def count(request: Request, forward: Forward) -> Answer:
        asked.append(request.path)
        return forward()

    db = table(stored, "db")
    with proxy(stored.s3.endpoint, count) as endpoint:
        stored.configure(s3_endpoint=endpoint)
        for line in (
            f"tb-list --stored --json --snapshots -s {db}",
            f"tb-discover --stored -s '{db}*'",
            f"tb-restore --dry-run --level3-suffix _1 {db}",
            f"tb-restore --dry-run --level3-suffix _1 '{db}*'",
            f"tb-verify --read-only {db}",
        ):
            stored.wipe()
            stored.good(line)
    read = [path for path in asked if "/manifests/" in path]
    assert read
    assert all("/db/" in path for path in read)
