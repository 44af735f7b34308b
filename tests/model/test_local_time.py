"""Times as people read them on the clocks of their zone, and type them in again."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.model.local_time import local, local_minute, parsed, spoken

BERLIN = ZoneInfo("Europe/Berlin")  # clocks go back 2026-10-25 01:00Z
SAO_PAULO = ZoneInfo("America/Sao_Paulo")  # has no name but its offset
FIRST, SECOND = (
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        (BERLIN, "2026-11-29 22:20:30 CET"),
        (SAO_PAULO, "2026-11-29 18:20:30 -03"),
        (UTC, "2026-11-29 21:20:30 UTC"),
        (timezone(timedelta(hours=5, minutes=30)), "2026-11-30 02:50:30 UTC+05:30"),
    ],
)
def test_a_time_is_told_in_whole_seconds_with_the_name_of_the_zone(
    zone: tzinfo, told: str
) -> None:
    assert local(datetime(2026, 11, 29, 21, 20, 30, 999_999, tzinfo=UTC), zone) == told


def test_the_name_tells_the_two_passes_of_an_hour_apart() -> None:
    assert local(FIRST, BERLIN) == "2026-10-25 02:30:00 CEST"
    assert local(SECOND, BERLIN) == "2026-10-25 02:30:00 CET"
    assert parsed("2026-10-25 02:30:00 CEST", BERLIN).astimezone(UTC) == FIRST
    assert parsed("2026-10-25 02:30:00 CET", BERLIN).astimezone(UTC) == SECOND


def test_a_narrow_screen_gets_no_year_and_no_seconds() -> None:
    assert local_minute(SECOND, BERLIN) == "10-25 02:30 CET"


def test_a_moment_keeps_its_microseconds_and_its_zone() -> None:
    moment = datetime(2026, 11, 29, 21, 20, 30, 123_456, tzinfo=UTC)
    assert spoken(moment.astimezone(BERLIN)) == "2026-11-29 22:20:30.123456 CET"


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from([BERLIN, SAO_PAULO, UTC, ZoneInfo("Australia/Lord_Howe")]),
)
def test_what_is_printed_can_be_typed_in(time: datetime, zone: tzinfo) -> None:
    assert parsed(spoken(time.astimezone(zone)), zone).astimezone(UTC) == time


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-29 22:20", datetime(2026, 11, 29, 21, 20, tzinfo=UTC)),
        ("2026-11-29", datetime(2026, 11, 28, 23, tzinfo=UTC)),
        ("2026-11-29T21:20:30Z", datetime(2026, 11, 29, 21, 20, 30, tzinfo=UTC)),
        ("2026-11-29 21:20:30 UTC", datetime(2026, 11, 29, 21, 20, 30, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_one_of_the_host(text: str, meant: datetime) -> None:
    assert parsed(text, BERLIN).astimezone(UTC) == meant


@pytest.mark.parametrize(
    "text", ["yesterday", "", "2026-07-01 12:00 CET", "2026-11-29 22:20 MSK", "2026-11-29Z CET"]
)
def test_a_name_that_the_zone_does_not_bear_then_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(text, BERLIN)
