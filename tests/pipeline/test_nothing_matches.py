"""Selectors that match nothing: a slip in a crontab must not look like a backup."""

import json

import pytest

from tests.pipeline.conftest import Host


@pytest.fixture(scope="module")
def stored(host_of_module: Host) -> Host:
    """A host whose table `dropped` is only in the older of two snapshots, and `fresh` in none."""
    host = host_of_module
    host.execute("create table orders (id int); create table dropped (id int)")
    host.good("tb-run")
    host.execute("drop table dropped")
    host.good("tb-discover | tb-snapshot --incremental | tb-upload")
    host.execute("create table fresh (id int)")
    return host


def meant(host: Host, name: str) -> str:
    return f"did you mean {host.table(name)}?"


@pytest.mark.parametrize("tool", ["tb-discover", "tb-list", "tb-list --stored --json", "tb-run"])
def test_a_slip_in_a_selector_is_a_failure_that_names_what_was_meant(
    stored: Host, tool: str
) -> None:
    slip = f"postgres/table/{stored.database}x/*"
    outcome = stored.sh(f"{tool} -s '{slip}' < /dev/null")
    assert outcome.status == 1
    assert f"{slip}: it matches no" in outcome.stderr
    assert f"did you mean postgres/table/{stored.database}/*?" in outcome.stderr
    assert "there is nothing" not in outcome.stderr


def test_each_selector_of_nothing_is_named_though_others_match(stored: Host) -> None:
    outcome = stored.sh(f"tb-discover -s {stored.table('orders')} -s order -s '*/visits/*'")
    assert outcome.status == 1
    found, *failed = outcome.records
    assert found["id"] == stored.table("orders")
    assert [record["select"] for record in failed] == ["order", "*/visits/*"]
    assert {record["error"]["code"] for record in failed} == {"select.nothing"}
    assert stored.table("orders") in failed[0]["error"]["hint"]


def test_the_tools_after_it_fail_as_well(stored: Host) -> None:
    outcome = stored.sh("tb-discover -s order | tb-plan | tb-snapshot | tb-upload | tb-rotate")
    assert outcome.status == 1
    assert [record["select"] for record in outcome.records] == ["order"]


def test_a_run_backs_up_the_others_and_says_which_selector_is_wrong(host: Host) -> None:
    host.execute("create table orders (id int)")
    outcome = host.sh(f"tb-run -s {host.table('orders')} -s {host.table('oders')}")
    assert outcome.status == 1
    assert outcome.stdout.startswith("1 selector matched nothing; all is well with 1 object\n")
    assert f"{host.table('oders')}: it matches no object" in outcome.stdout
    assert "snapshots  1 base" in outcome.stdout
    watched = host.sh("tb-status")
    assert watched.stdout.startswith("OK - ")


def test_a_run_that_was_to_back_up_nothing_that_there_is_failed(host: Host) -> None:
    host.execute("create table orders (id int)")
    outcome = host.sh(f"tb-run -q -s {host.table('oders')}")
    assert outcome.status == 1
    assert outcome.stdout.startswith("1 selector matched nothing\n")


def test_nothing_is_claimed_of_a_source_that_could_not_be_listed(stored: Host) -> None:
    environ = {"PGPORT": "9"}
    for tool in ("tb-discover", "tb-list --json"):
        outcome = stored.sh(f"{tool} -s postgres/table/x -s lxdd < /dev/null", environ=environ)
        unlisted, failed = outcome.records
        assert (unlisted["id"], failed["select"]) == ("postgres", "lxdd")
        assert "postgres/table/x" not in outcome.stderr


def test_of_a_source_that_is_not_installed_the_missing_program_is_named(stored: Host) -> None:
    outcome = stored.sh("tb-list -s lxd < /dev/null")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "lxd: it matches no object, since lxc or " in outcome.stderr
    assert "is not on PATH; install it or set PATH" in outcome.stderr


def test_records_that_come_in_are_what_a_selector_can_match(stored: Host) -> None:
    outcome = stored.sh(f"tb-discover | tb-list -s {stored.table('order')}")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert meant(stored, "orders") in outcome.stderr
    assert "tb-list < /dev/null" in stored.sh("tb-list -s postgres", "").stderr


def test_a_bare_name_restores_nothing_and_full_ids_are_suggested(stored: Host) -> None:
    before = stored.rows("select relname from pg_class order by 1")
    outcome = stored.sh(f"tb-restore orders {stored.table('orders')} --level3-suffix _2 nonsense")
    assert (outcome.status, outcome.stdout) == (1, "")
    unheld = "no snapshot that may be restored holds it"
    assert f"orders: {unheld}; {meant(stored, 'orders')}" in outcome.stderr
    assert f"nonsense: {unheld}; tb-list --stored" in outcome.stderr
    assert stored.rows("select relname from pg_class order by 1") == before


def test_what_only_older_snapshots_hold_is_suggested_too(stored: Host) -> None:
    outcome = stored.sh(f"tb-restore '{stored.table('drop*')}'")
    assert outcome.status == 1
    assert f"other snapshots hold {stored.table('dropped')}: tb-list --history" in outcome.stderr
    assert meant(stored, "dropped") in stored.sh("tb-restore dropped").stderr


def test_while_s3_is_away_no_more_is_claimed_than_what_this_host_knows(stored: Host) -> None:
    away = stored.folder / "away.yaml"
    text = stored.config.read_text()
    away.write_text(text.replace(stored.s3.endpoint, "http://127.0.0.1:9"))
    away.chmod(0o600)
    outcome = stored.sh(f"tb-restore -c {away} oders")
    assert outcome.status == 1
    assert "oders: no snapshot on this host, while S3 cannot be read, holds it" in outcome.stderr
    assert stored.table("orders") in outcome.stderr
    for tool in ("tb-discover", "tb-list"):
        outcome = stored.sh(f"{tool} --stored -c {away} -s oders < /dev/null")
        assert outcome.status == 69
        assert "matches no" not in outcome.stderr


def test_a_drill_of_nothing_fails_beside_those_of_others(stored: Host) -> None:
    outcome = stored.sh(
        f"tb-verify --read-only {stored.table('orders')} {stored.table('dropped')}"
    )
    assert outcome.status == 1
    failed, proved = outcome.records
    assert failed["select"] == stored.table("dropped")
    assert "tb-list --history" in failed["error"]["hint"]
    assert proved["drilled"]["how"] == "read"


def test_the_status_of_nothing_is_unknown_and_a_slip_beside_others_a_warning(stored: Host) -> None:
    slip = stored.table("oders")
    alone = stored.sh(f"tb-status -s {slip}")
    assert alone.status == 3
    assert alone.stdout.startswith(f"UNKNOWN - {slip}: it matches no stored object; did you mean ")
    beside = stored.sh(f"tb-status -s {slip} -s {stored.table('orders')}")
    assert beside.status == 1
    assert beside.stdout.startswith(f"WARNING - {slip}: it matches no stored object")
    shown = stored.sh(f"tb-status --json -s {slip} -s {stored.table('orders')}")
    assert [json.loads(line).get("select") for line in shown.stdout.splitlines()] == [None, slip]
    assert shown.records
    fresh = stored.sh(f"tb-status -s {stored.table('fresh')}")
    assert fresh.status == 3  # no snapshot holds it yet


def test_a_check_of_nothing_is_not_a_good_one(stored: Host) -> None:
    for slip, said in (
        ("postgers", "there is nothing of that name; did you mean postgres?"),
        ("payroll", "there is nothing of that name; known are host, s3, lxd"),
        ("lxd", "is not on PATH; install it or set PATH"),
    ):
        outcome = stored.sh(f"tb-check -s host -s {slip}")
        assert outcome.status == 1
        assert "local_dir: " in outcome.stdout
        assert f"{slip}: " in outcome.stderr
        assert said in outcome.stderr
    *_, failed = stored.sh("tb-check --json -s host -s postgers").records
    assert failed["select"] == "postgers"
    assert stored.sh("tb-check -s host").status == 0
