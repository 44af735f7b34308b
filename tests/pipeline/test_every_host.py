"""All hosts of a bucket at a glance: their carriers, and what is late."""

import json

import pytest

from tests.pipeline.conftest import Host, store
from three_backup.host.machine import Host as Machine
from three_backup.s3.ownership import claim


@pytest.fixture(scope="module")
def shared(host_of_module: Host) -> Host:
    """A host that shares its bucket with one more, and with one that has stored nothing yet."""
    host = host_of_module
    host.execute("create table orders (id int)")
    host.configure(s3_prefix="db2", local_dir=host.folder / "of_db2")
    host.good("tb-run")
    host.execute("create table later (id int)")
    host.configure()
    host.good("tb-run")
    claim(store(host, "empty"), Machine("another"))
    return host


def test_each_carrier_of_each_host_is_a_line_worst_first(shared: Host) -> None:
    outcome = shared.sh("tb-status --every-host")
    assert outcome.status == 1
    headline, _, heading, *rows = outcome.stdout.splitlines()
    assert headline == "WARNING - empty: nothing is stored there"
    assert heading.split()[:3] == ["STATE", "HOST", "CARRIER"]
    assert [row.split()[:2] for row in rows[:3]] == [
        ["warning", "empty"],
        ["ok", "db2"],
        ["ok", "host"],
    ]
    assert all("postgres/cluster/" in row for row in rows[1:3])


def test_the_plugin_counts_what_every_host_has(shared: Host) -> None:
    outcome = shared.sh("tb-status --every-host --nagios")
    assert outcome.status == 1
    (line,) = outcome.stdout.splitlines()
    figures = "objects=3;;;0 warning=1;;;0 critical=0;;;0"
    assert line.startswith(f"WARNING - empty: nothing is stored there | {figures} ")


def test_another_host_is_late_by_the_age_that_is_given(shared: Host) -> None:
    outcome = shared.sh("tb-status --every-host --max-age 0s")
    assert outcome.status == 2
    assert outcome.stdout.startswith("CRITICAL - db2: postgres/cluster/")


def test_records_name_the_prefix_of_another_host(shared: Host) -> None:
    outcome = shared.sh("tb-status --every-host --json")
    hosts = {(record.get("s3_prefix"), record["id"]) for record in outcome.records}
    orders = shared.table("orders")
    assert {("db2", orders), (None, orders), ("empty", "s3")} <= hosts
    assert ("db2", shared.table("later")) not in hosts


def test_nothing_of_another_host_is_written(shared: Host) -> None:
    before = {found.key: found.modified for found in store(shared, "db2").all_keys("")}
    shared.sh("tb-status --every-host")
    shared.good("tb-list --every-host")
    after = {found.key: found.modified for found in store(shared, "db2").all_keys("")}
    assert before == after


def test_a_host_that_cannot_be_read_is_a_line_and_not_an_end(shared: Host) -> None:
    manifests = store(shared, "db2")
    (key,) = (found.key for found in manifests.all_keys("manifests/"))
    body = manifests.read(key)
    manifests.write(key, b"{}")
    cached = list((shared.local_dir / "cache").rglob(key.rpartition("/")[2]))
    for path in cached:
        path.unlink()
    try:
        status = shared.sh("tb-status --every-host")
        listed = shared.sh("tb-list --every-host")
    finally:
        manifests.write(key, body)
    assert status.status == 1
    assert "this is not a manifest" in " ".join(status.stdout.split())
    assert "ok       host" in status.stdout
    assert listed.status == 1
    assert "host  postgres/cluster/" in listed.stdout


def test_the_list_tells_how_many_snapshots_each_host_has(shared: Host) -> None:
    heading, *rows = shared.good("tb-list --every-host").stdout.splitlines()
    assert heading.split() == ["HOST", "CARRIER", "SNAPSHOTS", "FIRST", "LAST"]
    assert [row.split()[0] for row in rows] == ["db2", "host"]
    later = shared.good(f"tb-list --every-host -s {shared.table('later')}").stdout
    assert [row.split()[0] for row in later.splitlines()[1:]] == ["host"]
    slip = shared.sh(f"tb-list --every-host -s {shared.table('latr')}")
    assert slip.status == 1
    assert f"did you mean {shared.table('later')}?" in slip.stderr


def test_what_the_list_prints_can_be_restored_from_its_host(shared: Host) -> None:
    records = shared.good(f"tb-list --every-host --json -s {shared.table('orders')}").stdout
    theirs = [line for line in records.splitlines() if json.loads(line).get("s3_prefix")]
    assert len(theirs) == 1
    shared.good("tb-restore --s3-prefix db2 --level3-suffix _db2", theirs[0] + "\n")
    assert shared.rows("select count(*) from orders_db2") == [(0,)]


def test_a_name_is_found_on_every_host(shared: Host) -> None:
    table = shared.good("tb-list --find orders --every-host").stdout
    mine = [line.split() for line in table.splitlines() if shared.database in line]
    assert sorted(row[1] for row in mine) == ["db2", "this"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("tb-status --every-host --html page.html", "--every-host and --html exclude"),
        ("tb-list --every-host --s3-prefix db2", "--every-host and --s3-prefix exclude"),
        ("tb-list --every-host --stages", "--every-host and --stages exclude"),
    ],
)
def test_what_makes_no_sense_together_is_refused(shared: Host, command: str, said: str) -> None:
    outcome = shared.sh(command)
    assert outcome.status == (3 if "status" in command else 2)
    assert said in outcome.stdout + outcome.stderr


def test_while_s3_is_away_nothing_is_claimed(shared: Host) -> None:
    away = shared.folder / "away.yaml"
    away.write_text(shared.config.read_text().replace(shared.s3.endpoint, "http://127.0.0.1:9"))
    away.chmod(0o600)
    assert shared.sh(f"tb-status --every-host -c {away}").status == 3
