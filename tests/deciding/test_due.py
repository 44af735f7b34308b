"""Which snapshot is due, which stage an object has reached, and what is left to do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock, Progress, next_take, stage, todo
from three_backup.model.kept import Kept
from three_backup.model.schedule import Cron
from three_backup.model.snapshots import Kind, SnapshotId, Stored
from three_backup.model.stages import TARGETS, Stage
from three_backup.model.storage import Storage

NOW = datetime(2026, 11, 23, 10, 17, tzinfo=UTC)
CLOCK = Clock(NOW, UTC)
HERE = Storage(Path("/nowhere"))


def settings(
    base: str = "16 13 1 * *", incremental: str = "0 3 * * *", max_stage: Stage = Stage.ROTATED_S3
) -> Settings:
    return Settings(HERE, Cron.parse(base), Cron.parse(incremental), max_stage=max_stage)


def base(**ago: int) -> Stored:
    return Stored(SnapshotId(NOW - timedelta(**ago)), local=True, s3=True)


def incremental(parent: Stored, **ago: int) -> Stored:
    return Stored(SnapshotId(NOW - timedelta(**ago), parent.id.time), local=True, s3=True)


def whole(_: SnapshotId) -> None:
    """Stand for a source that has no objection to an incremental."""


def test_the_first_snapshot_is_a_base() -> None:
    take = next_take([], [settings()], whole, CLOCK, Kept.FOLDERS)
    assert (take.kind, take.why) == (Kind.BASE, "there is no snapshot yet")


def test_a_base_is_due_when_its_schedule_fired_since_the_newest() -> None:
    take = next_take([base(days=30)], [settings()], whole, CLOCK, Kept.FOLDERS)
    assert take.kind is Kind.BASE
    assert take.why == "no base snapshot since 2026-11-01 13:16:00 UTC"


def test_an_incremental_is_due_when_its_schedule_fired_since_the_newest_of_either_kind() -> None:
    take = next_take([base(hours=20)], [settings()], whole, CLOCK, Kept.FOLDERS)
    assert take.kind is Kind.INCREMENTAL
    assert take.why == "no snapshot since 2026-11-23 03:00:00 UTC"


def test_nothing_is_due_right_after_a_snapshot() -> None:
    first = base(days=2)
    take = next_take(
        [first, incremental(first, hours=1)], [settings()], whole, CLOCK, Kept.FOLDERS
    )
    assert (take.kind, take.why) == (None, "nothing is due before 2026-11-24 03:00:00 UTC")


def test_times_are_told_on_the_clocks_of_the_host() -> None:
    berlin = Clock(NOW, ZoneInfo("Europe/Berlin"))
    take = next_take([base(hours=20)], [settings()], whole, berlin, Kept.FOLDERS)
    assert take.why == "no snapshot since 2026-11-23 03:00:00 CET"


def test_both_due_is_a_base() -> None:
    assert next_take([base(days=90)], [settings()], whole, CLOCK, Kept.FOLDERS).kind is Kind.BASE


def test_the_earliest_due_of_all_objects_counts() -> None:
    often = settings(incremental="* * * * *")
    assert (
        next_take([base(hours=1)], [settings(), often], whole, CLOCK, Kept.FOLDERS).kind
        is Kind.INCREMENTAL
    )


def test_an_object_that_stops_at_a_base_makes_no_incremental_due() -> None:
    stops = settings(incremental="* * * * *", max_stage=Stage.SNAPSHOT_BASE)
    assert next_take([base(hours=1)], [stops], whole, CLOCK, Kept.FOLDERS).kind is None


def test_a_chain_that_the_source_cannot_go_on_with_becomes_a_base_and_says_why() -> None:
    take = next_take(
        [base(hours=20)], [settings()], lambda _: "the timeline changed", CLOCK, Kept.FOLDERS
    )
    assert (take.kind, take.why) == (Kind.BASE, "the timeline changed")


def test_the_source_is_not_asked_before_an_incremental_is_due() -> None:
    def refuse(_: SnapshotId) -> str:
        raise AssertionError("asked")

    assert next_take([base(hours=1)], [settings()], refuse, CLOCK, Kept.FOLDERS).kind is None


def test_a_lost_parent_makes_a_base_due_at_once() -> None:
    lost = base(days=3)
    take = next_take(
        [base(days=4), incremental(lost, hours=1)], [settings()], whole, CLOCK, Kept.FOLDERS
    )
    assert take.kind is Kind.BASE
    assert "a parent of 20261123T091700Z-incr-20261120T101700Z is gone" in take.why


def test_a_snapshot_from_the_future_does_not_keep_the_next_one_away() -> None:
    future = Stored(SnapshotId(NOW + timedelta(days=400)), local=True, s3=True)
    assert next_take([future], [settings()], whole, CLOCK, Kept.FOLDERS).kind is not None


def test_nothing_is_taken_of_what_is_only_to_exist_or_is_disabled() -> None:
    assert (
        next_take([], [settings(max_stage=Stage.EXISTS)], whole, CLOCK, Kept.FOLDERS).kind is None
    )
    assert next_take([], [], whole, CLOCK, Kept.FOLDERS).kind is None


@pytest.mark.parametrize("wanted", list(Kind))
def test_a_kind_that_is_asked_for_is_taken_whatever_is_due(wanted: Kind) -> None:
    first = base(days=90)
    for known in ([first], [first, incremental(first, hours=1)], [base(minutes=1)]):
        take = next_take(known, [settings()], whole, CLOCK, Kept.FOLDERS, wanted=wanted)
        assert (take.kind, take.why) == (wanted, f"asked for by --{wanted}")


def test_an_incremental_that_cannot_follow_is_a_base_though_it_was_asked_for() -> None:
    wanted = Kind.INCREMENTAL
    take = next_take([], [settings()], whole, CLOCK, Kept.FOLDERS, wanted=wanted)
    assert take.kind is Kind.BASE
    take = next_take(
        [base(hours=1)], [settings()], lambda _: "it moved", CLOCK, Kept.FOLDERS, wanted=wanted
    )
    assert (take.kind, take.why) == (Kind.BASE, "it moved")
    stops = settings(max_stage=Stage.SNAPSHOT_BASE)
    take = next_take([base(hours=1)], [stops], whole, CLOCK, Kept.FOLDERS, wanted=wanted)
    assert take.kind is Kind.BASE


@pytest.mark.parametrize("wanted", list(Kind))
def test_what_is_disabled_or_is_only_to_exist_is_not_taken_though_asked_for(wanted: Kind) -> None:
    for own in ([], [settings(max_stage=Stage.EXISTS)]):
        take = next_take([base(days=90)], own, whole, CLOCK, Kept.FOLDERS, wanted=wanted)
        assert take.kind is None


@pytest.mark.parametrize(
    ("progress", "max_stage", "expected"),
    [
        (
            Progress(None, unsynced=False, begun=False, stale_local=False, stale_s3=False),
            Stage.ROTATED_S3,
            Stage.EXISTS,
        ),
        (
            Progress(Kind.BASE, unsynced=True, begun=False, stale_local=False, stale_s3=False),
            Stage.ROTATED_S3,
            Stage.SNAPSHOT_BASE,
        ),
        (
            Progress(
                Kind.INCREMENTAL, unsynced=True, begun=False, stale_local=True, stale_s3=True
            ),
            Stage.ROTATED_S3,
            Stage.SNAPSHOT_INCREMENTAL,
        ),
        (
            Progress(Kind.BASE, unsynced=True, begun=True, stale_local=False, stale_s3=False),
            Stage.ROTATED_S3,
            Stage.PARTIALLY_SYNCED,
        ),
        (
            Progress(Kind.BASE, unsynced=False, begun=False, stale_local=True, stale_s3=True),
            Stage.ROTATED_S3,
            Stage.SYNCED_S3,
        ),
        (
            Progress(Kind.BASE, unsynced=False, begun=False, stale_local=False, stale_s3=True),
            Stage.ROTATED_S3,
            Stage.ROTATED_LOCALLY,
        ),
        (
            Progress(Kind.BASE, unsynced=False, begun=False, stale_local=False, stale_s3=False),
            Stage.ROTATED_S3,
            Stage.ROTATED_S3,
        ),
        (
            Progress(
                Kind.INCREMENTAL, unsynced=True, begun=False, stale_local=False, stale_s3=False
            ),
            Stage.SNAPSHOT_BASE,
            Stage.SNAPSHOT_BASE,
        ),
    ],
)
def test_the_stage_is_the_furthest_that_holds(
    progress: Progress, max_stage: Stage, expected: Stage
) -> None:
    assert stage(progress, max_stage, Kept.FOLDERS) is expected


def test_a_base_to_take_leads_through_all_stages() -> None:
    assert todo(Stage.EXISTS, Stage.ROTATED_S3, Kind.BASE, Kept.FOLDERS) == [
        Stage.SNAPSHOT_BASE,
        Stage.SYNCED_S3,
        Stage.ROTATED_LOCALLY,
        Stage.ROTATED_S3,
    ]


@given(st.sampled_from(Stage), st.sampled_from(TARGETS), st.none() | st.sampled_from(Kind))
def test_nothing_beyond_max_stage_is_ever_to_do(
    current: Stage, max_stage: Stage, take: Kind | None
) -> None:
    planned = todo(current, max_stage, take, Kept.FOLDERS)
    assert all(max_stage.reaches(ahead) for ahead in planned)
    assert planned == sorted(planned, key=lambda one: one.rank)
    assert Stage.PARTIALLY_SYNCED not in planned


def test_an_object_that_has_come_as_far_as_it_may_has_nothing_to_do() -> None:
    assert todo(Stage.ROTATED_S3, Stage.ROTATED_S3, None, Kept.FOLDERS) == []
    assert todo(Stage.SYNCED_S3, Stage.SYNCED_S3, None, Kept.FOLDERS) == []


@pytest.mark.parametrize(
    ("max_stage", "take"),
    [
        (Stage.EXISTS, None),
        (Stage.SNAPSHOT_BASE, None),
        (Stage.SNAPSHOT_INCREMENTAL, None),
        (Stage.SYNCED_S3, Kind.BASE),
        (Stage.ROTATED_S3, Kind.BASE),
    ],
)
def test_a_server_that_writes_to_s3_takes_nothing_that_must_not_get_there(
    max_stage: Stage, take: Kind | None
) -> None:
    found = next_take([], [settings(max_stage=max_stage)], whole, CLOCK, Kept.DIRECT)
    assert found.kind is take
    if take is None:
        assert found.why.startswith(f"max_stage is {max_stage}")


@pytest.mark.parametrize("max_stage", TARGETS)
@pytest.mark.parametrize("kind", [None, *Kind])
@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("newest", [None, *Kind])
def test_what_is_written_to_s3_goes_through_four_stages_only(
    max_stage: Stage, kind: Kind | None, stale: bool, newest: Kind | None
) -> None:
    four = {Stage.EXISTS, Stage.SNAPSHOT_BASE, Stage.SYNCED_S3, Stage.ROTATED_S3}
    progress = Progress(newest, unsynced=False, begun=False, stale_local=False, stale_s3=stale)
    reached = stage(progress, max_stage, Kept.DIRECT)
    ahead = todo(reached, max_stage, kind, Kept.DIRECT)
    assert {reached, *ahead} <= four
    assert (Stage.SNAPSHOT_BASE in ahead) <= (Stage.SYNCED_S3 in ahead)
    assert all(max_stage.reaches(next_stage) for next_stage in ahead)
