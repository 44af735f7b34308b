"""Whether another host's snapshots are late, by how regularly they came."""

from datetime import UTC, datetime, timedelta

import pytest

from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.watching.health import AgeLimits, Level
from three_backup.watching.regularity import lateness

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PATIENCE = AgeLimits(2 * HOUR)


def bases(*ages: float) -> list[Stored]:
    """Return base snapshots in S3, so many hours old; oldest first."""
    return [Stored(SnapshotId(NOW - hours * HOUR), local=False, s3=True) for hours in ages]


def judged(snapshots: list[Stored], patience: AgeLimits = PATIENCE) -> list[Level]:
    return [trouble.level for trouble in lateness(snapshots, patience, NOW)]


@pytest.mark.parametrize(
    ("ages", "levels"),
    [
        ((72, 48, 24), []),
        ((97, 73, 49), []),  # twice the gap of 24 hours and two of grace
        ((99, 75, 51), [Level.WARNING]),
        ((148, 124, 101), [Level.CRITICAL]),
        ((148, 124, 99), [Level.WARNING]),
        ((4, 3.9), []),  # one by hand, minutes after another
        ((50, 49.9), []),
        ((53, 52.9), [Level.WARNING]),
        ((10, 9, 8, 7), [Level.WARNING]),
        ((24 * 60,), []),
        ((24 * 63,), [Level.WARNING]),
        ((24 * 365,), [Level.CRITICAL]),
        ((), [Level.CRITICAL]),
    ],
)
def test_the_gaps_before_tell_what_is_late(ages: tuple[float, ...], levels: list[Level]) -> None:
    assert judged(bases(*ages)) == levels


def test_gaps_that_retention_tore_long_ago_do_not_count() -> None:
    monthly = [24 * 31 * month for month in range(12, 1, -1)]
    nightly = [24 * day for day in range(12, 4, -1)]
    assert judged(bases(*monthly, *nightly)) == [Level.CRITICAL]
    assert judged(bases(*monthly, *nightly[:6])) == []


def test_an_age_that_is_given_wins() -> None:
    patience = AgeLimits(2 * HOUR, max_age=26 * HOUR)
    assert judged(bases(500, 25), patience) == []
    (trouble,) = lateness(bases(29, 28, 27), patience, NOW)
    assert (trouble.level, trouble.sentence) == (
        Level.CRITICAL,
        "the newest good snapshot is 27h old, which is too old",
    )


def test_what_s3_alone_cannot_restore_does_not_count() -> None:
    local = Stored(SnapshotId(NOW - HOUR), local=True, s3=False)
    orphan = Stored(SnapshotId(NOW - HOUR, NOW - 9 * HOUR), local=False, s3=True)
    for newest in (local, orphan):
        assert judged([*bases(200, 176, 152), newest]) == [Level.CRITICAL]
