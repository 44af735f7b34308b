"""The record of the last run, and the metrics for Prometheus made of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.records import Record, malformed_line, of_source
from three_backup.watching import last_run
from three_backup.watching.last_run import LastRun, Made, RunLedger
from three_backup.watching.stage_costs import Cost

BEGAN = datetime(2026, 11, 23, 10, 17, tzinfo=UTC)
CARRIER = Carrier("postgres/cluster/7")
REFUSED = BackupError("s3.denied", f"{CARRIER}: the bucket refuses the key")
USERS = Record.of(
    ObjectId("postgres", "table", "shop", "public", "users"),
    size=8192,
    carrier=CARRIER,
    todo=[],
    stage="rotated_s3",
    newest="20261122T030000Z-incr-20261101T030000Z",
    newest_base="20261101T030000Z-base",
    newest_s3="20261122T030000Z-incr-20261101T030000Z",
)
VISITS = Record.of(ObjectId("clickhouse", "table", "default", "shop", "visits"), todo=[])


def at(day: int) -> datetime:
    return datetime(2026, 11, day, 3, tzinfo=UTC)


def after(
    *records: Record, before: LastRun | None = None, patterns: tuple[str, ...] = (), day: int = 0
) -> LastRun:
    account = RunLedger()
    for record in records:
        account.add(record)
    began = BEGAN + timedelta(days=day)
    return account.closed(before, LastRun(began, began + timedelta(minutes=1), 0), patterns)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = after(USERS, VISITS.with_error("tb-snapshot", REFUSED), malformed_line("x", 1, REFUSED))
    assert last_run.read(tmp_path) is None
    last_run.write(tmp_path, run)
    assert last_run.read(tmp_path) == run


def test_what_its_stages_cost_is_read_as_it_was_written(tmp_path: Path) -> None:
    costs = {"rotate": Cost(1.5), "upload": Cost(0.25, 8192)}
    last_run.write(tmp_path, replace(after(USERS), stages=costs))
    run = last_run.read(tmp_path)
    assert run is not None
    assert run.stages == costs
    fields = json.loads((tmp_path / "last_run.json").read_text())
    del fields["stages"]
    (tmp_path / "last_run.json").write_text(json.dumps(fields))
    assert last_run.read(tmp_path) == after(USERS)  # of a version that noted none


def test_a_file_of_another_version_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "last_run.json").write_text('{"v": 2}')
    assert last_run.read(tmp_path) is None


def test_a_carrier_is_known_by_its_newest_snapshots() -> None:
    assert after(USERS, USERS).carriers[CARRIER] == Made(
        objects=2, base=at(1), newest=at(22), uploaded=at(22), size=16384
    )
    taken = USERS.with_fields(
        snapshot={"id": "20261123T030000Z-base", "kind": "base"}, stage="snapshot_base"
    )
    assert after(taken).carriers[CARRIER] == Made(
        objects=1, base=at(23), newest=at(23), uploaded=at(22), size=8192
    )


def test_the_first_of_several_failing_runs_is_remembered_until_one_succeeds() -> None:
    failed = USERS.with_error("tb-upload", REFUSED)
    first = after(failed)
    third = after(failed, before=after(failed, before=first, day=1), day=2)
    assert third.carriers[CARRIER].failing_since == BEGAN
    assert third.carriers[CARRIER].why == REFUSED.message
    assert after(USERS, before=third).carriers[CARRIER].failing_since is None


def test_what_is_gone_from_a_source_that_was_listed_is_forgotten() -> None:
    both = after(USERS, VISITS)
    assert both.listed == ("clickhouse", "postgres")
    moved = VISITS.with_fields(id="clickhouse/table/default/shop/orders")
    assert list(after(USERS, moved, before=both).carriers) == [CARRIER, moved.id]


def test_what_a_run_did_not_look_at_is_known_as_before() -> None:
    both = after(USERS, VISITS)
    assert set(after(VISITS, before=both, patterns=("clickhouse",)).carriers) == set(both.carriers)
    assert set(after(VISITS, before=both).carriers) == set(both.carriers)
    silent = of_source("postgres", "postgres").with_error("tb-discover", REFUSED)
    down = after(silent, VISITS, before=both)
    assert set(down.carriers) == {*both.carriers, "postgres"}
    assert down.carriers[Carrier("postgres")].why is not None


def test_what_is_disabled_is_known_as_that() -> None:
    disabled = USERS.with_fields(disabled=True, why="disabled")
    assert after(disabled).carriers[CARRIER].disabled
    assert not after(disabled, USERS).carriers[CARRIER].disabled
