"""What somebody holds stays in S3 with all that it needs, until it is released or time is over."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.pipeline.conftest import BIN, Host, store
from tests.pipeline.test_clickhouse import hits, mixed, words
from three_backup.catalog.holds import Hold, Holds
from three_backup.host.locks import carrier_lock
from three_backup.model.local_time import local
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId

__all__ = ["mixed"]
ONE_BASE: dict[str, Any] = {
    "max_incremental_snapshots_local": 0,
    "max_base_snapshots_s3": 1,
    "max_incremental_snapshots_s3": 0,
}
CYCLE = "tb-discover -s postgres | tb-snapshot {} | tb-upload | tb-rotate"


@pytest.fixture
def shop(host: Host) -> Host:
    """A host with a table, of which a base and an incremental lie in S3."""
    host.configure(**ONE_BASE)
    host.execute("create table orders as select generate_series(1, 3) as id")
    host.good(CYCLE.format("--base"))
    host.execute("insert into orders values (4)")
    host.good(CYCLE.format("--incremental"))
    return host


def in_s3(host: Host) -> list[str]:
    found = host.sh(f"tb-list --stored --snapshots --json -s {host.table('orders')}").records
    return [each["id"] for each in found[0]["snapshots"] if "s3" in each["place"]]


def holds(host: Host) -> list[str]:
    return [found.key for found in store(host).all_keys("keep/")]


def carrier(host: Host) -> Carrier:
    return Carrier(host.good(f"tb-discover -s {host.table('orders')}").records[0]["carrier"])


def held(
    host: Host, *, ago: timedelta = timedelta(), snapshot: str = "", reason: str = ""
) -> Hold:
    """Hold the newest snapshot, or this one, by hand; the hold ended so long ago."""
    found = SnapshotId.parse(snapshot or in_s3(host)[-1])
    assert found is not None
    hold = Hold(carrier(host), found, datetime.now(UTC) - ago if ago else None, reason)
    Holds(lambda: store(host)).put(hold)
    return hold


def test_what_is_held_stays_with_its_base_until_it_is_released(shop: Host) -> None:
    base, increment = in_s3(shop)
    shop.execute("insert into orders values (5)")
    (kept,) = shop.good(
        f"tb-keep --json --reason 'before the migration' {shop.table('orders')}"
    ).records
    assert kept["kept"] == {
        "snapshot": increment,
        "until": None,
        "reason": "before the migration",
    }
    assert kept["id"] == kept["carrier"] == carrier(shop)
    shop.good(CYCLE.format("--base"))
    assert in_s3(shop)[:2] == [base, increment]
    dry = shop.good("tb-discover -s postgres | tb-rotate --dry-run").records[0]
    reasons = {each["snapshot"]: each["reason"] for each in dry["verdicts"]}
    assert reasons[increment] == "held for ever: before the migration"
    assert reasons[base] == f"{increment} needs it"
    shop.wipe()
    shop.execute("drop table orders")
    shop.good(f"tb-restore --snapshot {increment} {shop.table('orders')}")
    assert shop.rows("select max(id) from orders") == [(4,)]
    (released,) = shop.good(f"tb-keep --json --release {shop.table('orders')}").records
    assert released["released"] == increment
    assert holds(shop) == []
    shop.good("tb-discover -s postgres | tb-rotate")
    assert len(in_s3(shop)) == 1


def test_a_snapshot_is_held_by_its_name_or_its_carrier_and_the_list_says_so(shop: Host) -> None:
    base, increment = in_s3(shop)
    until = (datetime.now(UTC) + timedelta(days=9)).replace(microsecond=0)
    shown = shop.good(f"tb-keep --until {until:%Y-%m-%dT%H:%M:%SZ} {carrier(shop)} {base}").stdout
    assert base in shown
    assert increment not in shown
    there = local(until, ZoneInfo("Europe/Moscow"))
    assert there in shop.good("TZ=Europe/Moscow tb-keep").stdout
    shop.good(f"TZ=Europe/Moscow tb-keep --until '{there}' {carrier(shop)} {base}")
    (record,) = shop.good("tb-keep --json").records
    assert record["kept"]["until"] == f"{until:%Y-%m-%dT%H:%M:%SZ}"
    listed = shop.good("tb-list --stored --snapshots").stdout
    (line,) = [line for line in listed.splitlines() if f"  {base}" in line]
    assert "base, held" in line
    found = shop.good(f"tb-list --stored --snapshots --json -s {shop.table('orders')}").records
    assert [each.get("held") for each in found[0]["snapshots"]] == [
        {"until": f"{until:%Y-%m-%dT%H:%M:%SZ}", "reason": ""},
        None,
    ]
    shop.good(f"tb-keep --reason later 'postgres/*/orders' {base} {increment}")
    table = shop.good("tb-keep").stdout.splitlines()
    assert table[0].split() == ["SNAPSHOT", "UNTIL", "REASON"]
    assert table[1] == carrier(shop)
    assert [line.split() for line in table[2:]] == [
        [base, "for", "ever", "later"],
        [increment, "for", "ever", "later"],
    ]


def test_a_hold_that_has_ended_holds_nothing_and_is_cleared(shop: Host) -> None:
    base, increment = in_s3(shop)
    held(shop, ago=timedelta(seconds=1))
    assert "ended" in shop.good("tb-keep").stdout
    shop.good("tb-discover -s postgres | tb-snapshot --base | tb-upload")
    (record, *_) = shop.good("tb-discover -s postgres | tb-rotate").records
    assert record["removed"]["s3"] == [increment, base]
    assert record["removed"]["holds"] == [increment]
    assert holds(shop) == []


def test_a_hold_that_cannot_be_read_stops_rotation_and_is_said_yet_backups_go_on(
    shop: Host,
) -> None:
    hold = held(shop)
    store(shop).write(holds(shop)[0], b"{}")
    before = in_s3(shop)
    planned = shop.good(f"tb-discover -s {shop.table('orders')} | tb-plan").records
    assert "error" not in planned[0]
    taken = shop.sh(CYCLE.format("--base"))
    assert taken.status == 1
    assert "this is not a hold (KeyError: 'v'); nothing of the carrier is removed" in taken.stderr
    assert in_s3(shop)[:2] == before
    assert len(in_s3(shop)) == 3
    listed = shop.sh("tb-list --stored --snapshots")
    assert listed.status == 1
    assert before[0] in listed.stdout
    assert shop.sh("tb-keep").status == 1
    shop.good(f"tb-keep --release {shop.table('orders')} {hold.snapshot}")
    shop.good("tb-discover -s postgres | tb-rotate")
    assert len(in_s3(shop)) == 1


def test_that_a_held_snapshot_is_gone_is_said(shop: Host) -> None:
    gone = "20200101T000000Z-base"
    held(shop, snapshot=gone)
    done = shop.good("tb-discover -s postgres | tb-rotate")
    assert f"{gone} is gone, though it is held for ever; find out who removed it" in done.stderr
    assert f"tb-keep --release {carrier(shop)} {gone}" in done.stderr
    assert "for ever, gone" in shop.good("tb-keep").stdout
    shop.good(f"tb-keep --release {carrier(shop)} {gone}")
    assert shop.good("tb-keep").stderr == "tb-keep: no snapshot is held\n"


def test_a_hold_counts_that_is_made_while_a_rotation_is_at_work(mixed: Host) -> None:
    """tb-rotate has listed the holds by then, for another carrier."""
    mixed.configure(**ONE_BASE)
    cycle = "tb-discover -s clickhouse | tb-snapshot --base"
    mixed.good(cycle)
    (first,) = mixed.good(f"tb-list --stored --snapshots --json -s {hits(mixed)}").records
    (old,) = (each["id"] for each in first["snapshots"])
    lines = [json.dumps(record) for record in mixed.good(cycle).records]
    by_id = {json.loads(line)["id"]: line for line in lines}
    with subprocess.Popen(
        [BIN / "tb-rotate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=mixed.environ,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{by_id[words(mixed)]}\n")
        process.stdin.flush()
        assert len(json.loads(process.stdout.readline())["removed"]["s3"]) == 1
        mixed.good(f"tb-keep {hits(mixed)} {old}")
        process.stdin.write(f"{by_id[hits(mixed)]}\n")
        process.stdin.close()
        assert json.loads(process.stdout.readline())["removed"]["s3"] == []
        assert process.wait() == 0
    (left,) = mixed.good(f"tb-list --stored --snapshots --json -s {hits(mixed)}").records
    assert left["snapshots"][0]["id"] == old


def test_holds_cost_a_listing_only_where_something_would_go(shop: Host) -> None:
    asked: list[str] = []

    def watch(request: Request, forward: Forward) -> Answer:
        if "keep" in request.path:
            asked.append(request.path)
        return forward()

    with proxy(shop.s3.endpoint, watch) as endpoint:
        shop.configure(**ONE_BASE | {"max_incremental_snapshots_s3": 9}, s3_endpoint=endpoint)
        shop.good("tb-run")
        assert asked == []
        shop.good("tb-discover -s postgres | tb-snapshot --base | tb-upload | tb-rotate")
    assert all("list-type=2" in path for path in asked)
    assert 0 < len(asked) <= 3


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--until yesterday {table}", 2, "'yesterday' is not a time; write 30d, "),
        ("--until 2020-01-01 {table}", 2, "2020-01-01 is over"),
        ("--until 999999999d {table}", 2, "is not a time"),
        ("{table} now", 2, "'now' is not a snapshot"),
        ("--release --until 3d {table}", 2, "--release and --until exclude one another"),
        ("--reason why", 2, "nothing is named; say which"),
        ("{table} 20200101T000000Z-base", 1, "there is no snapshot 20200101T000000Z-base"),
        ("{table}s", 1, "it matches no stored object"),
        ("lxd", 1, "it matches no stored object"),
        ("--release {table}", 1, "nothing of it is held; tb-keep lists what is"),
    ],
)
def test_a_slip_is_told_and_holds_nothing(
    shop: Host, arguments: str, status: int, said: str
) -> None:
    outcome = shop.sh(f"tb-keep {arguments.format(table=shop.table('orders'))}")
    assert outcome.status == status
    assert said in outcome.stderr
    assert outcome.stdout == ""
    assert holds(shop) == []


def test_what_is_at_work_on_the_carrier_keeps_it_from_being_held(shop: Host) -> None:
    with carrier_lock(shop.local_dir, carrier(shop)):
        outcome = shop.sh(f"tb-keep {shop.table('orders')}")
    assert outcome.status == 1
    assert "it is in use by" in outcome.stderr
    assert holds(shop) == []


def test_without_a_bucket_nothing_can_be_held(shop: Host) -> None:
    shop.configure(s3_bucket=None)
    assert shop.sh(f"tb-keep {shop.table('orders')}").status == 78


def test_a_reason_cannot_disturb_a_terminal(shop: Host) -> None:
    shop.good(f"tb-keep --reason \"$(printf 'red\\033[31m\\nnow')\" {shop.table('orders')}")
    assert shop.good("tb-keep").stdout.rstrip().endswith("red [31m now")
    held(shop, reason="\033[31m")
    assert "\033" not in shop.good("tb-keep").stdout
