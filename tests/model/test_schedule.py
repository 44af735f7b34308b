"""When a cron string fires, also on days when clocks change."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import ConfigurationError
from three_backup.model.schedule import Cron, host_zone, is_due

BERLIN = ZoneInfo("Europe/Berlin")  # clocks go forward 2026-03-29 01:00Z, back 2026-10-25 01:00Z
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour forward at 2026-10-03 15:30Z
APIA = ZoneInfo("Pacific/Apia")  # skipped the day 2011-12-30
MOSCOW = ZoneInfo("Europe/Moscow")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "now", "last"),
    [
        ("0 3 * * *", MOSCOW, "2026-11-23 00:00", "2026-11-23 00:00"),
        ("0 3 * * *", MOSCOW, "2026-11-22 23:59:59.999", "2026-11-22 00:00"),
        ("13 16 1 * *", BERLIN, "2026-11-23 10:00", "2026-11-01 15:13"),
        ("0 3 * * 7", UTC, "2026-11-23 10:00", "2026-11-22 03:00"),
        ("@monthly", UTC, "2026-11-23 10:00", "2026-11-01 00:00"),
        ("0 0 29 2 *", UTC, "2026-11-23 10:00", "2024-02-29 00:00"),
        # 02:30 does not exist: the schedule fires when clocks jump to 03:00
        ("30 2 * * *", BERLIN, "2026-03-29 00:59:59", "2026-03-28 01:30"),
        ("30 2 * * *", BERLIN, "2026-03-29 01:00", "2026-03-29 01:00"),
        ("30 2 * * *", BERLIN, "2026-03-30 00:00", "2026-03-29 01:00"),
        ("30 2 * * *", BERLIN, "2026-03-30 00:30", "2026-03-30 00:30"),
        ("15 2 * * *", LORD_HOWE, "2026-10-03 16:00", "2026-10-03 15:30"),
        ("0 12 * * *", APIA, "2011-12-30 11:00", "2011-12-30 10:00"),
        # 02:30 occurs twice: the schedule fires the first time
        ("30 2 * * *", BERLIN, "2026-10-25 00:29", "2026-10-24 00:30"),
        ("30 2 * * *", BERLIN, "2026-10-25 00:30", "2026-10-25 00:30"),
        ("30 2 * * *", BERLIN, "2026-10-25 01:10", "2026-10-25 00:30"),
        ("30 2 * * *", BERLIN, "2026-10-25 01:30", "2026-10-25 00:30"),
        ("30 2 * * *", BERLIN, "2026-10-26 01:29", "2026-10-25 00:30"),
    ],
)
def test_the_last_firing(text: str, zone: ZoneInfo, now: str, last: str) -> None:
    assert Cron.parse(text).last_firing(at(now), zone) == at(last)


@pytest.mark.parametrize(
    ("text", "now", "following"),
    [
        ("0 3 * * *", "2026-11-23 02:00", "2026-11-24 02:00"),
        ("0 3 * * *", "2026-11-23 01:59:59.5", "2026-11-23 02:00"),
        ("30 2 * * *", "2026-03-28 01:30", "2026-03-29 01:00"),
        ("30 2 * * *", "2026-03-29 01:00", "2026-03-30 00:30"),
        ("30 2 * * *", "2026-10-25 00:30", "2026-10-26 01:30"),
        ("30 2 * * *", "2026-10-25 01:10", "2026-10-26 01:30"),
    ],
)
def test_the_next_firing(text: str, now: str, following: str) -> None:
    assert Cron.parse(text).next_firing(at(now), BERLIN) == at(following)


@given(
    text=st.sampled_from(["*/15 * * * *", "30 2 * * *", "0 3 * * *", "5 1-3 * * *", "0 0 1 * *"]),
    zone=st.sampled_from([BERLIN, LORD_HOWE, MOSCOW, ZoneInfo("America/New_York")]),
    now=st.one_of(
        st.datetimes(
            datetime.fromisoformat("2026-03-28"),
            datetime.fromisoformat("2026-03-30"),
            timezones=st.just(UTC),
        ),
        st.datetimes(
            datetime.fromisoformat("2026-10-02"),
            datetime.fromisoformat("2026-10-26"),
            timezones=st.just(UTC),
        ),
    ),
)
def test_no_firing_lies_between_the_last_and_the_next(
    text: str, zone: ZoneInfo, now: datetime
) -> None:
    cron = Cron.parse(text)
    last, following = cron.last_firing(now, zone), cron.next_firing(now, zone)
    assert last <= now < following
    assert cron.next_firing(last, zone) == following
    assert cron.last_firing(following - timedelta(microseconds=1), zone) == last


def test_the_two_instants_that_clocks_show_alike_are_told_apart() -> None:
    first = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN)
    half_past_two = Cron("30 2 * * *")
    assert half_past_two.last_firing(first, BERLIN) == at("2026-10-24 00:30")
    assert half_past_two.last_firing(first.replace(fold=1), BERLIN) == at("2026-10-25 00:30")


def test_a_year_of_nightly_firings_has_one_a_day_wherever_clocks_are_set() -> None:
    cron, firings, now = Cron.parse("30 2 * * *"), [], at("2026-01-01 00:00")
    while (now := cron.next_firing(now, BERLIN)) < at("2027-01-01 00:00"):
        firings.append(now.astimezone(BERLIN).date())
    assert len(firings) == len(set(firings)) == 365


NIGHTLY = Cron.parse("0 3 * * *")
NOW = at("2026-11-23 10:17")


@pytest.mark.parametrize(
    ("newest", "due"),
    [
        (None, True),
        ("2026-11-22 03:00", True),
        ("2026-11-23 02:59:59", True),
        ("2026-11-23 03:00", False),
        ("2026-11-23 10:17", False),
        ("2026-11-23 10:17:01", False),
        ("2026-11-23 10:18:01", True),
        ("2026-10-01 00:00", True),
    ],
)
def test_what_is_due(newest: str | None, due: bool) -> None:
    assert is_due(NIGHTLY, None if newest is None else at(newest), NOW, UTC) == due


def test_missed_firings_count_once() -> None:
    assert is_due(NIGHTLY, at("2026-10-01 03:00"), NOW, UTC)
    assert not is_due(NIGHTLY, NOW, NOW, UTC)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 3 * *", "'0 3 * *' is not a schedule: it has 4 fields, not 5"),
        ("* * * * * *", "'* * * * * *' is not a schedule: it has 6 fields, not 5"),
        ("", "'' is not a schedule: it has 0 fields, not 5"),
        ("61 * * * *", "out of range"),
        ("0 3 * * fry", "is not acceptable"),
        ("0 0 30 2 *", "it never fires"),
        ("R 3 * * *", "another time each time"),
        ("0 H(2-4) * * *", "another time each time"),
        ("@reboot", "only @hourly"),
    ],
)
def test_what_is_not_a_schedule_is_said(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Cron.parse(text)
    assert sentence in caught.value.message
    assert "'0 3 * * *'" in caught.value.hint


@pytest.mark.parametrize("text", ["0 3 * * mon-thu", "0 3 * MAR,oct fri", "0 3 L * *", "@daily"])
def test_names_of_days_and_months_are_schedules(text: str) -> None:
    assert Cron.parse(f"  {text} ") == Cron(text)


def test_the_zone_of_the_host_is_named_by_tz() -> None:
    assert host_zone({"TZ": ":Europe/Berlin"}) == BERLIN
    assert host_zone({"TZ": "Europe/Moscow"}) == MOSCOW


def test_the_zone_of_the_host_is_else_that_of_its_clock(tmp_path: Path) -> None:
    assert host_zone({}, tmp_path / "none") == UTC
    (tmp_path / "zone").write_bytes(_tzif("MSK-3"))
    zone = host_zone({"TZ": ""}, tmp_path / "zone")
    assert NOW.astimezone(zone).utcoffset() == timedelta(hours=3)


@pytest.mark.parametrize("colon", ["", ":"])
def test_the_zone_of_the_host_may_be_a_file(colon: str, tmp_path: Path) -> None:
    (tmp_path / "zone").write_bytes(_tzif("MSK-3"))
    zone = host_zone({"TZ": f"{colon}{tmp_path}/zone"})
    assert NOW.astimezone(zone).utcoffset() == timedelta(hours=3)
    assert host_zone({"TZ": f"{colon}{tmp_path}/none"}, tmp_path / "none") == UTC
    with pytest.raises(ConfigurationError, match="none' cannot be read"):
        host_zone({"TZ": f"{colon}{tmp_path}/none"})


def test_a_zone_that_nobody_knows_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Mars/Olympus"):
        host_zone({"TZ": "Mars/Olympus"})
    (tmp_path / "zone").write_bytes(b"no zone")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        host_zone({}, tmp_path / "zone")


def _tzif(rule: str) -> bytes:
    """Build a zone file of version 2 that holds one rule and no history."""
    counts = b"\0\0\0\0" * 4 + b"\0\0\0\1" + b"\0\0\0\4"
    header = b"TZif2" + b"\0" * 15 + counts
    block = b"\0\0\x2a\x30" + b"\0\0" + b"MSK\0"
    return header + block + header + block + b"\n" + rule.encode() + b"\n"
