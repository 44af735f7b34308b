"""Limits of bandwidth, and the hours for which they hold."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from three_backup.model.bandwidth import Bandwidth

MB = 1_000_000


def at(text: str, hour: int, minute: int = 0) -> int | None:
    return Bandwidth.parse(text).at(datetime(2026, 11, 30, hour, minute, tzinfo=UTC), UTC)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("8 MB/s", 8 * MB), ("500kB/s", 500_000), ("1.5 MB/s", 1_500_000), ("1 GB/s", 1000 * MB)],
)
def test_a_limit_without_hours_holds_all_day(text: str, rate: int) -> None:
    assert {at(text, hour) for hour in range(24)} == {rate}


def test_outside_of_its_hours_there_is_no_limit() -> None:
    found = [at("8 MB/s from 8 to 20", hour) for hour in range(24)]
    assert found == [None] * 8 + [8 * MB] * 12 + [None] * 4
    assert at("8 MB/s from 8 to 20", 19, 59) == 8 * MB


def test_hours_may_go_over_midnight_and_begin_within_an_hour() -> None:
    night = "2 MB/s from 22:30 to 6"
    assert (at(night, 22, 29), at(night, 22, 30)) == (None, 2 * MB)
    assert (at(night, 0), at(night, 5, 59), at(night, 6)) == (2 * MB, 2 * MB, None)
    assert at("2 MB/s from 20 to 24", 23, 59) == 2 * MB


def test_what_has_hours_goes_before_what_has_none() -> None:
    for text in ("2 MB/s, 50 MB/s from 22 to 6", "50 MB/s  from 22 to 6 ,2 MB/s"):
        assert (at(text, 12), at(text, 23)) == (2 * MB, 50 * MB)


def test_the_hours_are_those_of_the_clock_on_the_wall() -> None:
    limit, berlin = Bandwidth.parse("8 MB/s from 8 to 20"), ZoneInfo("Europe/Berlin")
    assert limit.at(datetime(2026, 11, 30, 7, 30, tzinfo=UTC), berlin) == 8 * MB
    assert limit.at(datetime(2026, 11, 30, 19, 30, tzinfo=UTC), berlin) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8", "is not a limit; write 8 MB/s"),
        ("8 Mbit/s", "bytes, not bits"),
        ("8 MB/s at night", "is not a limit"),
        ("", "is not a limit"),
        ("8 MB/s from 8 to 20,", "is not a limit"),
        ("٨ MB/s", "is not a limit"),
        ("8 MB/s from 8 to 25", "25 is no hour"),
        ("8 MB/s from 8 to 8", "end when they begin"),
        ("8 MB/s from 8 to 20, 9 MB/s from 19 to 22", "two limits for the same hours"),
        ("8 MB/s, 9 MB/s", "two limits for the whole day"),
        ("10 kB/s", "too slow"),
    ],
)
def test_a_slip_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Bandwidth.parse(text)
