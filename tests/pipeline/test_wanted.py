"""Snapshots that somebody wants now, before a deploy say, and a run that only tells."""

from tests.pipeline.conftest import Host, store


def kinds(host: Host) -> list[str]:
    listed = host.good(f"tb-list --snapshots --json -s {host.table('orders')} < /dev/null")
    return [snapshot["kind"] for snapshot in listed.records[0]["snapshots"]]


def test_a_run_takes_what_is_wanted_of_all_that_is_enabled_and_of_nothing_else(
    host: Host,
) -> None:
    host.execute("create table orders as select generate_series(1, 1000) as id")
    host.execute("create table secret (id int)")
    host.configure(f"- {host.table('secret')}: {{disable: true}}")
    selected = f"-s postgres/table/{host.database}"
    host.good("tb-run")
    host.good(f"tb-run {selected}")
    assert kinds(host) == ["base"]
    host.good(f"tb-run --incremental {selected}")
    assert kinds(host) == ["base", "incremental"]
    records = host.good(f"tb-run --base --json {selected}").records
    assert kinds(host)[-1] == "base"
    taken = {record["level3"]: "snapshot" in record for record in records}
    assert taken == {"orders": True, "secret": False}
    assert host.sh(f"tb-list --stored -s {host.table('secret')}").status == 1  # none of it


def test_a_dry_run_changes_nothing(host: Host) -> None:
    host.execute("create table orders as select generate_series(1, 1000) as id")
    host.good("tb-run")
    keys, files = sorted(store(host).keys("")), sorted(host.local_dir.rglob("*"))
    shown = host.good(f"tb-run --dry-run --base -s {host.table('orders')}").stdout
    assert "asked for by --base" in shown
    assert "nothing is due before" in host.good("tb-run --dry-run").stdout
    assert sorted(store(host).keys("")) == keys
    assert sorted(host.local_dir.rglob("*")) == files


def test_a_dry_run_tells_of_servers_that_are_away(host: Host) -> None:
    away = host.sh("PGPORT=1 tb-run --dry-run -s postgres")
    assert away.status == 69
    assert "nothing is to be done; 1 failure" in away.stdout
    assert "does not answer" in away.stderr
