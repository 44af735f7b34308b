"""Which backups are late, and how severe that is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock
from three_backup.model.kept import Kept
from three_backup.model.schedule import Cron
from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage
from three_backup.watching.health import AgeLimits, Health, Level, judge
from three_backup.watching.last_run import Made

NOW = datetime(2026, 11, 23, 10, 17, tzinfo=UTC)
PATIENCE = AgeLimits(timedelta(hours=2))
MONTHLY = Settings(Storage(Path("/nowhere")), Cron("0 3 1 * *"), Cron("0 3 * * *"))
NEAR = Settings(
    Storage(Path("/nowhere")),
    Cron("0 3 1 * *"),
    Cron("0 3 * * *"),
    max_stage=Stage.SNAPSHOT_INCREMENTAL,
)
BASE = Stored(SnapshotId(NOW - timedelta(days=22, hours=7)), local=False, s3=True)


def child(of: Stored, s3: bool = True, **ago: int) -> Stored:
    return Stored(SnapshotId(NOW - timedelta(**ago), of.id.time), local=not s3, s3=s3)


def health(
    *snapshots: Stored,
    settings: Settings = MONTHLY,
    made: Made | None = None,
    patience: AgeLimits = PATIENCE,
    **copied: datetime | None,
) -> Health:
    clock = Clock(NOW, UTC)
    return judge(snapshots, [settings], made, patience, clock, Kept.FOLDERS, copied=copied)


def test_what_the_schedules_ask_for_is_all_right() -> None:
    last = child(BASE, hours=7)
    found = health(BASE, last)
    assert (found.level, found.troubles) == (Level.OK, ())
    assert (found.base, found.incremental) == (BASE.id.time, last.id.time)
    assert found.uploaded == last.id.time
    assert found.chain is not None
    assert (found.chain.base, found.chain.increments) == (BASE.id.time, 1)
    assert found.next_base == datetime(2026, 12, 1, 3, tzinfo=UTC)
    assert found.next_incremental == datetime(2026, 11, 24, 3, tzinfo=UTC)


def test_what_is_due_first_is_the_first_firing_that_no_snapshot_followed() -> None:
    assert health(BASE, child(BASE, hours=7)).due == datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert health(BASE, child(BASE, hours=60)).due == datetime(2026, 11, 21, 3, tzinfo=UTC)
    waiting = child(BASE, s3=False, hours=7)
    assert health(BASE, waiting).due == datetime(2026, 11, 2, 3, tzinfo=UTC)
    assert health(BASE, waiting, settings=NEAR).due == datetime(2026, 11, 24, 3, tzinfo=UTC)
    old = Stored(SnapshotId(NOW - timedelta(days=23)), local=False, s3=True)
    assert health(old, child(old, hours=1)).due == datetime(2026, 11, 1, 3, tzinfo=UTC)
    assert health().due is None


@pytest.mark.parametrize(
    ("ago", "level"), [(8, Level.WARNING), (31, Level.WARNING), (32, Level.CRITICAL)]
)
def test_a_firing_missed_is_a_warning_and_two_are_critical(ago: int, level: Level) -> None:
    found = health(BASE, child(BASE, hours=ago))
    assert found.level is level
    assert found.troubles == (
        f"the newest snapshot is {ago}h old, one was due at 2026-11-23 03:00:00 UTC",
    )


def test_what_has_just_become_due_is_not_late() -> None:
    yesterday = child(BASE, hours=20)
    assert health(BASE, yesterday, patience=AgeLimits(timedelta(hours=8))).level is Level.OK


def test_a_base_is_late_though_increments_are_not() -> None:
    old = Stored(SnapshotId(NOW - timedelta(days=23)), local=False, s3=True)
    found = health(old, child(old, hours=1))
    assert found.level is Level.WARNING
    assert found.troubles[0].startswith("the newest base snapshot is 23d old")


def test_a_snapshot_that_is_only_here_is_late_in_s3_unless_it_is_to_stay_here() -> None:
    waiting = child(BASE, s3=False, hours=7)
    found = health(BASE, waiting)
    assert found.level is Level.CRITICAL
    assert found.troubles[0].startswith("the newest upload is 22d old")
    assert health(BASE, waiting, settings=NEAR).level is Level.OK


@pytest.mark.parametrize(("ago", "level"), [(7, 0), (8, 1), (31, 1), (32, 2)])
def test_copies_are_as_late_as_an_upload_would_be(ago: int, level: int) -> None:
    """A snapshot is uploaded and copied by one run: once two firings have passed, two failed."""
    last = child(BASE, hours=7)
    found = health(BASE, last, vault=NOW - timedelta(hours=ago), near=last.id.time)
    assert found.level == level
    assert found.copied == {"vault": NOW - timedelta(hours=ago), "near": last.id.time}
    due = "one was due at 2026-11-23 03:00:00 UTC"
    expected = f"the newest copy in store vault is {ago}h old, {due}"
    assert found.troubles == ((expected,) if level else ())


def test_a_store_may_be_empty_and_have_what_s3_lost() -> None:
    last = child(BASE, hours=7)
    empty = health(BASE, last, vault=None)
    assert (empty.level, empty.troubles) == (
        Level.WARNING,
        ("there is no copy in store vault yet",),
    )
    lost = health(BASE, vault=last.id.time)
    assert lost.level is Level.CRITICAL
    assert "store vault has a newer snapshot than S3, of 20261123T031700Z" in "".join(
        lost.troubles
    )


@pytest.mark.parametrize(("days", "level"), [(1, Level.OK), (0, Level.CRITICAL)])
def test_max_age_counts_whatever_the_schedules_say(days: int, level: Level) -> None:
    patience = AgeLimits(timedelta(hours=2), max_age=timedelta(days=days))
    assert health(BASE, child(BASE, hours=7), patience=patience).level is level


def test_a_snapshot_without_its_parent_is_not_good() -> None:
    lost = Stored(
        SnapshotId(NOW - timedelta(days=2), NOW - timedelta(days=3)), local=True, s3=True
    )
    found = health(BASE, lost)
    assert found.level is Level.CRITICAL
    assert found.incremental is None
    assert found.troubles[-1] == (
        f"{lost.id} cannot be restored: that of 20261120T101700Z, on which it builds, "
        f"is gone; the newest that can is {BASE.id}"
    )


def test_a_hole_behind_a_newer_base_is_told_and_makes_nothing_late() -> None:
    second = child(child(BASE, days=9), days=8)
    third = child(second, days=7)
    later = Stored(SnapshotId(NOW - timedelta(days=6)), local=False, s3=True)
    last = child(later, hours=7)
    found = health(BASE, second, third, later, last)
    assert (found.level, found.uploaded) == (Level.WARNING, last.id.time)
    (trouble,) = found.troubles
    assert trouble == (
        f"{third.id} and 1 before it cannot be restored: that of 20261114T101700Z, on which "
        f"it builds, is gone; the newest that can is {last.id}"
    )


def test_nothing_is_expected_where_nothing_is_to_be_taken() -> None:
    exists = Settings(Storage(Path("/nowhere")), max_stage=Stage.EXISTS)
    assert health(settings=exists).level is Level.OK
    assert health().troubles == ("there is no base snapshot yet", "there is no snapshot yet")


def test_a_failure_of_the_last_run_is_told_with_its_beginning() -> None:
    made = Made(objects=1, why="the bucket refuses the key", failing_since=NOW)
    found = health(BASE, child(BASE, hours=7), made=made)
    assert found.level is Level.WARNING
    assert found.troubles == (
        "the runs fail since 2026-11-23 10:17:00 UTC: the bucket refuses the key",
    )


def test_a_point_on_this_host_is_good_without_its_parents() -> None:
    point = Stored(SnapshotId(NOW - timedelta(hours=7), BASE.id.time), local=True, s3=False)
    found = judge([point], [NEAR], None, PATIENCE, Clock(NOW, UTC), Kept.POINTS)
    assert found.incremental == point.id.time
    assert not any("cannot be restored" in trouble for trouble in found.troubles)
    assert (
        judge([point], [NEAR], None, PATIENCE, Clock(NOW, UTC), Kept.FOLDERS).incremental is None
    )
