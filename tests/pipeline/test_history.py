"""What snapshots tell of an object over time, and where a name is found in them."""

import json
from typing import Any

import pytest

from tests.lab.terminal import COLUMNS
from tests.pipeline.conftest import Host

INCREMENTAL = "tb-discover | tb-snapshot --incremental | tb-upload"


@pytest.fixture(scope="module")
def changed(host_of_module: Host) -> Host:
    """A host with four snapshots, in which tables grew, changed, vanished and came back."""
    host = host_of_module
    host.execute("create table orders (id int); create table brief (id int)")
    host.execute("create schema audit; create table audit.orders (id int)")
    host.good("tb-run")
    host.execute("insert into orders select generate_series(1, 5000)")
    host.execute("drop table brief")
    host.good(INCREMENTAL)
    host.execute("create unlogged table brief (id int); alter table orders add note text")
    host.configure(f"- {host.table('orders', 'audit')}: {{disable: true}}")
    host.good(INCREMENTAL)
    host.execute("drop table brief")
    host.good(INCREMENTAL)
    return host


def history(host: Host, name: str, schema: str = "public") -> dict[str, Any]:
    (record,) = host.good(f"tb-list --json --history {host.table(name, schema)}").records
    return record


def test_the_history_tells_how_a_table_grew(changed: Host) -> None:
    told = history(changed, "orders")
    sizes = [step["size"] for step in told["history"]]
    assert sizes[0] == 0
    assert sizes[1] > 5000
    assert len(sizes) == 4
    # A column more is not in a manifest, and the page says so.
    assert not any(step["changed"] for step in told["history"])
    assert told["live"] is True


def test_the_history_tells_when_a_table_vanished_and_came_back_as_another(changed: Host) -> None:
    told = history(changed, "brief")
    _, gone, back, last = told["history"]
    assert (gone["absent"], last["absent"], told["live"]) == ("gone", "gone", False)
    assert back["changed"] == ["kind table → unlogged table"]
    shown = changed.good(f"tb-list --history {changed.table('brief')}").stdout
    words = " ".join(shown.split())
    assert f"{gone['snapshot']} does not hold it: it was dropped or renamed between " in words
    assert f"{back['snapshot']}: changed: kind table → unlogged table" in words
    assert "the newest snapshot does not hold it: it is gone" in words
    assert max(map(len, shown.splitlines())) <= COLUMNS


def test_a_disabled_table_is_not_called_gone(changed: Host) -> None:
    told = history(changed, "orders", "audit")
    assert [step.get("absent") for step in told["history"]] == [None, None, *["disabled"] * 2]
    assert "live" not in told
    shown = changed.good(f"tb-list --history {changed.table('orders', 'audit')}").stdout
    words = " ".join(shown.split())
    assert "and 1 after it do not hold it: it was disabled between " in words
    assert "the newest snapshot does not say whether it is still at its source" in words


def test_a_bare_name_is_found_wherever_it_is_or_was(changed: Host) -> None:
    found = changed.good("tb-list --json --find ORDERS").records
    ours = {record["id"]: record for record in found if changed.database in record["id"]}
    assert set(ours) == {changed.table("orders"), changed.table("orders", "audit")}
    assert ours[changed.table("orders")]["found"]["snapshots"] == 4
    assert "live" not in ours[changed.table("orders", "audit")]
    (gone,) = changed.good("tb-list --json --find 'bri*'").records
    steps = history(changed, "brief")["history"]
    assert gone["found"] == {
        "first": steps[0]["snapshot"],
        "last": steps[2]["snapshot"],
        "snapshots": 2,
    }
    assert gone["live"] is False
    for name in ("audit.orders", "audit/orders", "'*/orders' -s '*/audit/*'"):
        (record,) = changed.good(f"tb-list --json --find {name}").records
        assert record["id"] == changed.table("orders", "audit")
    table = changed.good("tb-list --find brief").stdout.splitlines()
    assert table[0].split() == ["OBJECT", "SNAPSHOTS", "FIRST", "LAST", "NOW"]
    assert table[1].split()[1] == "2"
    assert table[1].split()[-1] == "gone"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--find oders", 1, "oders: no snapshot holds an object of that name; "),
        ("--history orders", 1, "/public/orders"),
        ("--history 'postgres/*'", 1, "the nearest are "),
        ("--history a --find b", 2, "cannot make sense of --find"),
        ("--find orders --snapshots", 2, "--find and --snapshots exclude one another"),
        ("--history a -s b", 2, "--history and --select exclude one another"),
        ("--find orders --s3-prefix hots", 1, "nothing is stored below "),
    ],
)
def test_a_slip_is_one_sentence(changed: Host, arguments: str, status: int, said: str) -> None:
    outcome = changed.sh(f"tb-list {arguments}")
    assert (outcome.status, outcome.stdout) == (status, "")
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_manifests_are_all_that_is_read_and_each_only_once(changed: Host) -> None:
    arguments = f"--json --history {changed.table('orders')}"
    first = changed.good(f"tb-list {arguments} --s3-prefix host").stdout
    cached = list((changed.local_dir / "cache").rglob("*.json"))
    assert len(cached) >= 4
    again = changed.sh(f"tb-list {arguments} --s3-prefix host", environ={"PGPORT": "9"})
    assert (again.stdout, again.stderr) == (first, "")
    assert json.loads(first)["history"] == history(changed, "orders")["history"]


def test_a_damaged_manifest_fails_and_the_others_are_told(changed: Host) -> None:
    snapshots = sorted(changed.local_dir.glob("postgres/cluster/*/*/manifest.json"))
    body = snapshots[1].read_bytes()
    snapshots[1].write_bytes(body.replace(b'"v":1', b'"v":7', 1))
    try:
        outcome = changed.sh(f"tb-list --json --history {changed.table('orders')}")
    finally:
        snapshots[1].write_bytes(body)
    assert outcome.status == 1
    failed, told = outcome.records
    assert failed["error"]["code"] == "manifest.malformed"
    assert len(told["history"]) == 3
