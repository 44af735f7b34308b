"""What is wrong with archived WAL: its age, its gaps, its absence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock
from three_backup.keeping.moments import described, sentences
from three_backup.model.snapshots import SnapshotId
from three_backup.model.storage import Storage
from three_backup.model.wal import Wal
from three_backup.sources.logged import Log, Window
from three_backup.watching.health import Level
from three_backup.watching.log_health import troubles

NOW = datetime(2026, 11, 23, 10, 17, tzinfo=UTC)
OFF = Settings(Storage(Path("/nowhere")), wal_max_age=timedelta(hours=2))
PULL = replace(OFF, wal=Wal.PULL)
CLOSING = SnapshotId(NOW - timedelta(hours=20))


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def log(*windows: tuple[float, float], reached: float | None = 0.1) -> Log:
    """Return a log with windows; each time in hours ago."""
    found = tuple(Window(ago(since), ago(until), CLOSING) for since, until in windows)
    return Log(found, None if reached is None else ago(reached), 5_000_000)


def told(found: Log | None, settings: Settings = PULL) -> list[tuple[Level, str]]:
    return [
        (trouble.level, trouble.sentence) for trouble in troubles(found, settings, Clock(NOW, UTC))
    ]


def test_wal_without_a_gap_that_is_young_enough_is_all_right() -> None:
    assert told(log((48, 0.1))) == []


@pytest.mark.parametrize(
    ("hours", "level"),
    [(2, None), (2.1, Level.WARNING), (4, Level.WARNING), (4.1, Level.CRITICAL)],
)
def test_wal_older_than_it_may_be_is_a_warning_and_twice_that_is_critical(
    hours: float, level: Level | None
) -> None:
    found = told(log((48, hours), reached=hours))
    assert [each for each, _ in found] == ([] if level is None else [level])


def test_nothing_yet_is_a_warning_where_it_is_wanted() -> None:
    for nothing in (None, log(reached=None)):
        ((level, sentence),) = told(nothing)
        assert level is Level.WARNING
        assert "no WAL is in S3 yet: run tb-wal pull" in sentence
        assert told(nothing, OFF) == []
    ((_, sentence),) = told(None, replace(OFF, wal=Wal.PUSH))
    assert "archive_command" in sentence


def test_what_is_not_wanted_any_more_is_no_alarm() -> None:
    assert told(log((480, 400), (300, 200), reached=100), OFF) == []


def test_an_open_gap_is_closed_by_the_next_snapshot() -> None:
    ((level, sentence),) = told(log((48, 24)))
    assert level is Level.WARNING
    assert sentence == (
        "WAL is missing after 2026-11-22 10:17:00 UTC: no later moment between snapshots can be "
        "restored; the next snapshot closes the gap"
    )


def test_a_closed_gap_names_its_times_and_the_snapshot_that_closed_it() -> None:
    ((level, sentence),) = told(log((48, 24), (20, 0.1)))
    assert level is Level.WARNING
    assert sentence == (
        "WAL is missing: no moment between 2026-11-22 10:17:00 UTC and 2026-11-22 14:17:00 UTC "
        "can be restored; snapshot 20261122T141700Z-base closes the gap"
    )
    ((_, sentence),) = told(log((90, 80), (70, 60), (48, 24), (20, 0.1)))
    assert "can be restored, nor in 2 earlier gaps; snapshot" in sentence
    ((_, sentence),) = told(log((70, 60), (48, 24), (20, 0.1)))
    assert "can be restored, nor in an earlier gap; snapshot" in sentence


def test_wal_that_leads_on_from_no_snapshot_is_told() -> None:
    ((level, sentence),) = told(log())
    assert (level, "leads on from no snapshot" in sentence) == (Level.WARNING, True)


def test_what_is_lacking_is_told() -> None:
    lacking = replace(log((48, 0.1)), troubles=("the archive lacks 00000002.history",))
    assert told(lacking) == [(Level.WARNING, "the archive lacks 00000002.history")]


def test_times_are_told_in_whole_seconds_that_lie_within() -> None:
    window = Window(ago(2) + timedelta(microseconds=1), ago(1) + timedelta(microseconds=999_999))
    found = Log((window,), window.until, 5_000_000)
    assert described(found) == {
        "windows": [{"since": "2026-11-23T08:17:01Z", "until": "2026-11-23T09:17:00Z"}],
        "reached": "2026-11-23T09:17:00Z",
        "size": 5_000_000,
    }
    assert list(sentences(found, UTC)) == [
        "any moment from 2026-11-23 08:17:01 UTC to 2026-11-23 09:17:00 UTC",
        "5 MB of WAL in S3",
    ]


def test_a_window_without_a_whole_second_is_not_told() -> None:
    brief = Window(ago(2) + timedelta(microseconds=1), ago(2) + timedelta(microseconds=9))
    found = replace(log((20, 10)), windows=(*log((20, 10)).windows, brief))
    assert len(described(found)["windows"]) == 1


def test_sentences_tell_gaps_between_and_at_the_end() -> None:
    assert list(sentences(log((48, 24), (20, 10)), UTC)) == [
        "any moment from 2026-11-21 10:17:00 UTC to 2026-11-22 10:17:00 UTC",
        "not between 2026-11-22 10:17:00 UTC and 2026-11-22 14:17:00 UTC",
        "any moment from 2026-11-22 14:17:00 UTC to 2026-11-23 00:17:00 UTC",
        "not after 2026-11-23 00:17:00 UTC, until there is a new snapshot",
        "5 MB of WAL in S3",
    ]
    assert (
        next(iter(sentences(log(), UTC)))
        == "no moment between snapshots, until there is a new one"
    )
