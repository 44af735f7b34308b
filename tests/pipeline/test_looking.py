"""Lists, selections, restores to a time, mistakes and status, as an administrator sees them."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.lab.terminal import COLUMNS, on_terminal
from tests.pipeline.conftest import BIN, Host

OURS = os.pathsep.join((str(BIN), str(Path(sys.executable).parent)))
"""A PATH without the programs of any source."""


@pytest.fixture(scope="module")
def looked_at(host_of_module: Host) -> Host:
    """A host with two snapshots in S3, which tests must not change."""
    host = host_of_module
    host.execute("create table customers (id int); insert into customers values (1)")
    host.execute("create view everybody as select * from customers")
    host.execute("create unlogged table carts (id int)")
    host.execute("create materialized view totals as select count(*) from customers")
    host.good("tb-run")
    host.execute("insert into customers values (2)")
    host.good("tb-discover | tb-snapshot --incremental | tb-upload")
    return host


def test_the_list_is_a_table_of_objects_named_as_what_they_are(looked_at: Host) -> None:
    lines = looked_at.good("tb-list < /dev/null").stdout.splitlines()
    assert lines[0].split() == ["OBJECT", "KIND", "SIZE"]
    kinds = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert kinds[looked_at.table("customers")] == "table"
    assert kinds[looked_at.table("carts")] == "unlogged"
    assert kinds[f"postgres/view/{looked_at.database}/public/everybody"] == "view"
    assert kinds[f"postgres/view/{looked_at.database}/public/totals"] == "materialized"


def test_the_list_shows_stages_and_snapshots_where_they_lie(looked_at: Host) -> None:
    shown = looked_at.good(
        f"tb-list --stages --snapshots -s {looked_at.table('customers')} < /dev/null"
    ).stdout
    objects, snapshots = shown.split("\n\n")
    assert objects.splitlines()[1].split()[-2:] == ["rotated_s3", "rotated_s3"]
    assert [line.split()[1] for line in snapshots.splitlines()[2:]] == ["base", "incremental"]
    assert all(line.endswith("local, s3") for line in snapshots.splitlines()[2:])


def test_a_table_is_stored_from_the_first_snapshot_that_has_it(host: Host) -> None:
    host.execute("create table old (id int primary key)")
    host.execute("create table parted (id int) partition by list (id)")
    host.execute("create table part partition of parted for values in (1)")
    host.execute("create view seen as select * from old")
    host.good("tb-run")
    host.execute("create table new (id int)")
    assert stages(host) == {
        **dict.fromkeys(("old", "parted", "part", "seen"), "rotated_s3"),
        "new": "exists",
    }
    (planned,) = host.good(f"tb-discover -s {host.table('new')} | tb-plan").records
    assert (planned["stage"], planned["todo"]) == ("exists", [])
    assert planned["why"].startswith("nothing is due before ")
    host.good("tb-discover | tb-snapshot --incremental | tb-upload")
    assert stages(host)["new"] == "rotated_s3"


def stages(host: Host) -> dict[str, str]:
    listed = host.good(f"tb-discover -s '*/{host.database}/*' | tb-list --stages --json").records
    return {record["level3"]: record["stage"] for record in listed}


def test_a_disabled_object_is_shown_as_one(looked_at: Host) -> None:
    changed = looked_at.folder / "disabled.yaml"
    section = f"- {looked_at.table('carts')}: {{disable: true}}\n"
    changed.write_text(section + looked_at.config.read_text().lstrip())
    changed.chmod(0o600)
    shown = looked_at.good(
        f"tb-list --stages -c {changed} -s {looked_at.table('carts')} < /dev/null"
    ).stdout
    assert shown.split()[-2:] == ["exists", "disabled"]
    for options in ("", "--stored"):
        plain = looked_at.good(f"tb-list {options} -c {changed} -s postgres < /dev/null").stdout
        (line,) = (line for line in plain.splitlines() if "/carts" in line)
        assert "table, disabled" in line
        assert plain.count("disabled") == 1
    (record,) = looked_at.good(
        f"tb-discover -s {looked_at.table('carts')} | tb-plan -c {changed}"
    ).records
    assert (record["disabled"], record["todo"], record["why"]) == (True, [], "disabled")


def test_a_configuration_with_mistakes_is_told_whatever_comes_in(looked_at: Host) -> None:
    broken = looked_at.folder / "broken.yaml"
    broken.write_text('- "*":\n    s3_buket: x\n    base_schedule: 61 * * * *\n')
    for tool in ("discover", "plan", "snapshot", "upload", "rotate", "restore", "list", "run"):
        outcome = looked_at.sh(f"tb-{tool} -c {broken}", "nonsense\n")
        assert (outcome.status, outcome.stdout) == (78, "")
        assert "s3_bucket" in outcome.stderr
        assert "61 * * * *" in outcome.stderr


def test_the_list_shows_the_records_that_come_in(looked_at: Host) -> None:
    shown = looked_at.good("tb-discover | jq -c 'select(.kind==\"view\")' | tb-list").stdout
    assert [line.split()[1] for line in shown.splitlines()] == ["KIND", "view"]


def test_a_plan_with_nothing_to_do_says_until_when(looked_at: Host) -> None:
    for record in looked_at.good("tb-discover | tb-plan").records:
        assert record["todo"] == []
        assert record["take"] is None
        assert record["why"].startswith("nothing is due before ")


def test_what_cannot_be_read_keeps_its_carrier_from_being_rotated(looked_at: Host) -> None:
    found = looked_at.good("tb-discover").records
    locked = {
        "v": 1,
        "id": "postgres/table/locked",
        "type": "postgres",
        "carrier": found[0]["carrier"],
        "error": {"tool": "tb-discover", "code": "postgres.no_connect", "message": "no"},
    }
    due = f"{looked_at.config}.due"
    section = (
        '- postgres:\n    incremental_schedule: "* * * * *"\n'
        "    max_base_snapshots_s3: 1\n    max_incremental_snapshots_s3: 0\n"
    )
    with open(due, "w") as file:  # noqa: PTH123  due is a str
        file.write(section + looked_at.config.read_text())
    lines = "".join(json.dumps(record) + "\n" for record in (*found, locked))
    planned = looked_at.sh(f"tb-plan -c {due}", lines)
    assert planned.status == 1
    for record in planned.records[:-1]:
        assert not {"rotated_locally", "rotated_s3"} & set(record["todo"])
    rotated = looked_at.sh(
        f"tb-rotate -c {due}", "".join(json.dumps(fields) + "\n" for fields in (locked, *found))
    )
    assert not any("removed" in record for record in rotated.records)


def test_a_table_is_restored_as_it_was_at_a_time(looked_at: Host) -> None:
    shown = looked_at.good("TZ=Europe/Moscow tb-list --snapshots < /dev/null").stdout
    first, second = re.findall(r"2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d MSK", shown)
    for taken, rows in ((first, [(1,)]), (second, [(1,), (2,)])):
        name = f"_{rows[-1][0]}"
        looked_at.good(
            f"tb-discover --stored -s {looked_at.table('customers')}"
            f" | TZ=Europe/Moscow tb-restore --at '{taken}' --level3-suffix {name}"
        )
        assert looked_at.rows(f"select * from customers{name} order by 1") == rows


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--at yesterday x", 2, "'yesterday' is not a time; write 2026-11-23T03:00:00Z"),
        ("--at '' x", 2, "'' is not a time"),
        ("--snapshot newest x", 2, "'newest' is not a snapshot"),
        ("--snapshot '' x", 2, "'' is not a snapshot"),
        ("--snapshot 20261101T031600Z-base --at 2026-11-01 x", 2, "exclude one another"),
        ("postgres/table/no/such/table", 1, "no snapshot that may be restored holds it"),
        ("'postgres/table/*/public/c*' --level3 one", 2, "would both become"),
        ("'postgres/table/*/public/c*' --into incus", 2, "cannot be restored into 'incus'; leave"),
        ("--at 2001-01-01 postgres", 1, "no snapshot is as old as 2001-01-01 00:00:00 "),
    ],
)
def test_a_slip_in_what_to_restore_is_one_sentence(
    looked_at: Host, arguments: str, status: int, said: str
) -> None:
    outcome = looked_at.sh(f"tb-restore {arguments} < /dev/null")
    assert outcome.status == status
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_section_that_matches_nothing_is_pointed_out(looked_at: Host) -> None:
    typo = looked_at.folder / "typo.yaml"
    typo.write_text(
        "- postgres/table/shopp*: {disable: true}\n" + looked_at.config.read_text().lstrip()
    )
    typo.chmod(0o600)
    assert (
        "'postgres/table/shopp*' matched nothing"
        in looked_at.good(f"tb-discover -c {typo}").stderr
    )
    assert looked_at.good(f"tb-discover -c {typo} -s postgres").stderr == ""


def test_sources_that_no_pattern_reaches_are_not_contacted(looked_at: Host) -> None:
    outcome = looked_at.sh("tb-discover -s clickhouse", environ={"PGPORT": "9"})
    assert [record.get("select") for record in outcome.records] == ["clickhouse"]
    assert "postgres" not in outcome.stderr


def test_the_status_begins_with_a_line_for_nagios(looked_at: Host) -> None:
    shown = looked_at.good("tb-status").stdout
    assert shown.startswith("OK - 4 objects backed up, every last snapshot at most ")
    row = next(line.split() for line in shown.splitlines() if "postgres/cluster/" in line)
    assert row[0] == "ok"
    assert row[5:7] == ["-", "base+1"]
    assert "the last run ended " in shown


def test_the_status_needs_neither_the_source_nor_anything_on_this_host(looked_at: Host) -> None:
    fresh = looked_at.folder / "fresh.yaml"
    text = looked_at.config.read_text()
    fresh.write_text(text.replace(str(looked_at.local_dir), str(looked_at.folder / "fresh")))
    fresh.chmod(0o600)
    outcome = looked_at.sh(f"tb-status -c {fresh}", environ={"PGPORT": "9", "PATH": OURS})
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "base+1" in outcome.stdout


def test_the_status_is_critical_where_the_newest_is_older_than_it_may_be(looked_at: Host) -> None:
    outcome = looked_at.sh("tb-status --max-age 0s")
    assert outcome.status == 2
    assert outcome.stdout.startswith("CRITICAL - postgres/cluster/")


def test_the_status_of_what_nobody_can_tell_is_unknown(looked_at: Host) -> None:
    text = looked_at.config.read_text()
    away = looked_at.folder / "away.yaml"
    away.write_text(text.replace(looked_at.s3.endpoint, "http://127.0.0.1:9"))
    away.chmod(0o600)
    for arguments in (f"-c {away}", "-c /nowhere.yaml", "--max-age soon", "--nonsense"):
        outcome = looked_at.sh(f"tb-status {arguments}")
        assert outcome.status == 3
        assert outcome.stdout.startswith("UNKNOWN - tb-status: ")
        assert outcome.stdout.count("\n") == 1


def test_the_status_is_a_record_for_every_object_that_is_selected(looked_at: Host) -> None:
    customers = looked_at.table("customers")
    (record,) = looked_at.good(f"tb-status --json -s {customers}").records
    assert (record["id"], record["status"]["level"]) == (customers, "ok")
    assert record["status"]["uploaded"] is not None


def test_metrics_of_a_run_are_those_of_the_status(looked_at: Host) -> None:
    ours, theirs = looked_at.folder / "run.prom", looked_at.folder / "status.prom"
    measured = looked_at.folder / "measured.yaml"
    measured.write_text(f"{looked_at.config.read_text()}    prometheus_file: {ours}\n")
    measured.chmod(0o600)
    looked_at.good(f"tb-run -q -c {measured}")
    looked_at.good(f"tb-status -c {measured} --prometheus {theirs}")
    times = "\n".join(line for line in ours.read_text().splitlines() if "timestamp" in line)
    assert "three_backup_newest_upload_timestamp_seconds{" in times
    assert times == "\n".join(
        line for line in theirs.read_text().splitlines() if "timestamp" in line
    )


def test_the_page_shows_what_is_stored_whether_or_not_this_host_knows_it(looked_at: Host) -> None:
    page, fresh = looked_at.folder / "page.html", looked_at.folder / "fresh-page.yaml"
    looked_at.good(f"tb-status --html {page}")
    shown = page.read_text()
    assert "All is well" in shown
    assert shown.count("incremental of ") == 2  # in S3 and on this host
    assert "2 moments since" in shown
    assert ">now " in shown
    assert looked_at.table("customers") in shown
    text = looked_at.config.read_text()
    fresh.write_text(text.replace(str(looked_at.local_dir), str(looked_at.folder / "elsewhere")))
    fresh.chmod(0o600)
    looked_at.good(f"tb-status -c {fresh} --html {page}")
    assert page.read_text().count("incremental of ") == 1
    assert ">now " in page.read_text()


def test_the_last_runs_are_shown_alone(looked_at: Host) -> None:
    outcome = looked_at.sh("tb-status --runs --html runs.html")
    assert outcome.status == 3
    assert "--runs and --html exclude one another" in outcome.stdout
    assert not (looked_at.folder / "runs.html").exists()


def test_the_page_marks_what_is_held(host: Host) -> None:
    page = host.folder / "page.html"
    host.execute("create table customers (id int)")
    host.good("tb-run -q")
    host.good(f"tb-keep --reason 'a < b' {host.table('customers')}")
    host.good(f"tb-status --html {page}")
    assert page.read_text().count("held for ever: a &lt; b") == 3  # two places and a row
    assert page.read_text().count("<circle") == 2


def test_the_page_does_not_go_on_telling_what_nobody_can_tell(looked_at: Host) -> None:
    page, away = looked_at.folder / "away.html", looked_at.folder / "away-page.yaml"
    looked_at.good(f"tb-status --html {page}")
    text = looked_at.config.read_text()
    away.write_text(text.replace(looked_at.s3.endpoint, "http://127.0.0.1:9"))
    away.chmod(0o600)
    assert looked_at.sh(f"tb-status -c {away} --html {page}").status == 3
    assert "All is well" not in page.read_text()
    assert "How the backups stand is unknown" in page.read_text()


def test_a_check_says_what_is_good_and_what_is_bad_with_the_remedy(looked_at: Host) -> None:
    shown = looked_at.good("tb-check").stdout
    assert "  good  multipart: " in shown
    assert "  good  replication: " in shown
    assert "bad" not in shown.split()
    outcome = looked_at.sh("tb-check --json -s postgres", environ={"PGPORT": "9"})
    assert outcome.status == 1
    (record,) = outcome.records
    assert (record["id"], record["finding"]["mark"]) == ("postgres", "bad")
    assert "PGPORT" in record["finding"]["remedy"]


def test_a_run_has_a_bar_in_a_line_of_its_own_where_somebody_looks(host: Host) -> None:
    host.execute("create table filled as select generate_series(1, 200000)")
    status, shown = on_terminal(("tb-run",), host.real.environ)
    assert status == 0
    *frames, last = shown.split("\r")
    assert all(len(frame) <= COLUMNS for frame in frames)
    bars = [frame for frame in frames if "B/s" in frame]
    (cluster,) = {record["carrier"] for record in host.good("tb-discover").records}
    assert {frame.split(":")[0] for frame in bars} == {cluster}
    assert "B/s" not in last


def test_a_run_has_no_bar_for_who_wants_none(host: Host) -> None:
    host.execute("create table filled as select generate_series(1, 200000)")
    status, shown = on_terminal(("tb-run", "--progress", "never"), host.real.environ)
    assert (status, "B/s" in shown) == (0, False)


def test_a_quiet_run_warns_once(host: Host) -> None:
    host.execute("create table users (id int)")
    host.config.chmod(0o644)
    warned = host.good("tb-run -q")
    assert (warned.stdout, "chmod 600" in warned.stderr) == ("", True)
    again = host.good("tb-run -q")
    assert (again.stdout, again.stderr) == ("", "")
    failed = host.sh("tb-run -q", environ={"PGHOST": "127.0.0.1", "PGPORT": "1"})
    assert (failed.status, "chmod 600" in failed.stderr) == (69, True)
