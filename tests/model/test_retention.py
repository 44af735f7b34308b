"""Retention never removes what a restore needs, and each verdict gives its reason."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.model.kept import Kept
from three_backup.model.periods import Period
from three_backup.model.retention import (
    Candidate,
    Limits,
    Place,
    Verdict,
    decide,
    keeps_everything,
    most_generous,
)
from three_backup.model.snapshots import Kind, SnapshotId, Stored

DEFAULTS = Limits(bases_local=1, incrementals_local=3, bases_s3=3, incrementals_s3=40)
NOTHING = Limits(0, 0, 0, 0)
EVERYTHING = Limits(99, 99, 99, 99)


def day(number: int) -> datetime:
    return datetime(2026, 1, 1, 3, tzinfo=UTC) + timedelta(days=number)


def candidate(text: str) -> Candidate:
    """Parse a candidate: `5<4 local s3` is day 5's snapshot, an incremental of day 4's, in both
    places.

    unwanted: not wanted in S3; only: has local-only files; lost: has lost them; ahead: its time
    lies in the future; held: somebody holds it.
    """
    link, *words = text.split()
    number, _, parent = link.partition("<")
    snapshot = SnapshotId(day(int(number)), day(int(parent)) if parent else None)
    return Candidate(
        Stored(snapshot, local="local" in words, s3="s3" in words),
        wanted_in_s3="unwanted" not in words,
        local_only="only" in words or "lost" in words,
        lost="lost" in words,
        ahead="ahead" in words,
        held="held" if "held" in words else None,
    )


def lying(points: bool) -> Kept:
    return Kept.POINTS if points else Kept.FOLDERS


def stored(candidates: Iterable[Candidate]) -> list[Stored]:
    return [each.stored for each in candidates]


def kept(texts: Iterable[str], limits: Limits, *, points: bool = False) -> list[str]:
    """Decide, and return the copies that stay, as `5 local`, oldest first."""
    verdicts = decide(map(candidate, texts), limits, lying(points))
    return [_short(verdict) for verdict in reversed(verdicts) if verdict.keep]


def surplus(texts: Iterable[str], limits: Limits) -> list[int]:
    verdicts = decide(map(candidate, texts), limits, Kept.FOLDERS)
    return sorted((verdict.snapshot.time - day(0)).days for verdict in verdicts if verdict.surplus)


def _short(verdict: Verdict) -> str:
    return f"{(verdict.snapshot.time - day(0)).days} {verdict.place}"


def test_local_copies_go_once_s3_has_the_snapshot_though_a_child_stays_here() -> None:
    chain = ["1 local s3", *(f"{n}<{n - 1} local s3" for n in range(2, 7))]
    assert kept(chain, DEFAULTS) == [
        "1 s3", "1 local", "2 s3", "3 s3", "4 s3", "4 local", "5 s3", "5 local", "6 s3", "6 local",
    ]  # fmt: skip


def test_without_s3_a_kept_increment_keeps_its_parents_here() -> None:
    chain = ["1 local unwanted", *(f"{n}<{n - 1} local unwanted" for n in range(2, 7))]
    assert len(kept(chain, DEFAULTS)) == 6
    assert len(kept([*chain, "7 local unwanted"], DEFAULTS)) == 7
    assert kept([*chain, "7 local unwanted"], Limits(1, 0, 0, 0)) == ["7 local"]


def test_the_newest_bases_and_increments_stay_and_all_they_need() -> None:
    history = ["1 s3", "2<1 s3", "3 s3", "4<3 s3", "5<4 s3", "6 s3", "7<6 s3"]
    assert kept(history, Limits(0, 0, 2, 2)) == ["3 s3", "4 s3", "5 s3", "6 s3", "7 s3"]
    assert kept(history, Limits(0, 0, 1, 1)) == ["6 s3", "7 s3"]
    assert kept(history, Limits(0, 0, 3, 0)) == ["1 s3", "3 s3", "6 s3", "7 s3"]


def test_what_is_from_the_future_takes_no_place_of_others() -> None:
    history = ["1 s3", "2<1 s3", "3 s3"]
    forged = [f"{day} s3 ahead" for day in range(50, 55)]
    assert kept([*history, *forged], Limits(0, 0, 1, 0)) == ["3 s3", "54 s3"]
    assert kept([*history, *forged], Limits(0, 0, 2, 1)) == [
        "1 s3", "2 s3", "3 s3", "53 s3", "54 s3",
    ]  # fmt: skip
    assert kept([*history, *forged], NOTHING) == ["3 s3", "54 s3"]
    assert kept(["1 local", "2<1 local", "50<2 local ahead"], NOTHING) == [
        "1 local", "2 local", "50 local",
    ]  # fmt: skip
    assert kept(["1 s3", "2<1 s3", "50<49 s3 ahead"], NOTHING) == ["1 s3", "2 s3", "50 s3"]


def test_the_newest_chain_stays_whatever_the_limits_say() -> None:
    assert kept(["1 s3", "2<1 s3", "3<2 s3"], NOTHING) == ["1 s3", "2 s3", "3 s3"]
    assert kept(["1 local unwanted"], NOTHING) == ["1 local"]


def test_what_is_not_yet_in_s3_stays_here() -> None:
    history = ["1 local s3", "2<1 local", "3<2 local", "4<3 local"]
    assert kept(history, NOTHING) == ["1 s3", "2 local", "3 local", "4 local"]


def test_the_last_base_in_s3_stays_until_the_new_one_is_there() -> None:
    assert kept(["1 s3", "2 local"], NOTHING) == ["1 s3", "2 local"]
    assert kept(["1 s3", "2 local s3"], NOTHING) == ["2 s3"]


def test_an_increment_here_may_build_on_parents_that_only_s3_has() -> None:
    history = ["1 s3", "2<1 s3", "3<2 local", "4 local s3"]
    assert kept(history, Limits(0, 1, 0, 0)) == ["1 s3", "2 s3", "3 local", "4 s3"]


def test_what_would_be_removed_from_s3_again_is_surplus_and_not_waited_for() -> None:
    history = ["1 local", "2<1 local", "3 local", "4<3 local", "5 local s3"]
    assert surplus(history, Limits(3, 0, 1, 0)) == [1, 2, 3, 4]
    assert surplus(history, Limits(3, 0, 2, 0)) == [1, 2, 4]
    assert surplus(history, Limits(3, 1, 1, 0)) == [1, 2, 4]
    assert surplus(history, Limits(0, 0, 1, 1)) == [1, 2]
    assert kept(history, Limits(3, 0, 1, 0)) == ["1 local", "3 local", "5 s3", "5 local"]
    assert kept(history, Limits(1, 0, 1, 0)) == ["5 s3", "5 local"]


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("limits", [Limits(4, 4, 1, 1), Limits(1, 9, 1, 3), Limits(3, 2, 3, 40)])
def test_through_many_bases_no_more_stays_here_than_the_limits_say(
    limits: Limits, points: bool
) -> None:
    history: dict[SnapshotId, Candidate] = {}
    for number in range(200):
        parent = day(number - 1) if number % 10 else None
        taken = SnapshotId(day(number), parent)
        history[taken] = Candidate(Stored(taken, local=True, s3=False))
        spared = surplus_of(list(history.values()), limits, points)
        sent = uploaded(list(history.values()), points, spared)
        left = carried_out(sent, decide(sent, limits, lying(points)))
        history = {each.stored.id: each for each in left}
    here = [each for each in history.values() if each.stored.local]
    assert len(here) <= limits.bases_local + limits.incrementals_local + (0 if points else 20)


def test_the_newest_chain_and_what_is_never_to_be_in_s3_are_no_surplus() -> None:
    assert surplus(["1 local", "2<1 local", "3<2 local"], NOTHING) == []
    assert surplus(["1 local s3", "2<1 local"], NOTHING) == []
    assert surplus(["1 local unwanted", "2 local unwanted"], NOTHING) == []


def test_files_that_are_never_uploaded_keep_their_chain_here() -> None:
    chain = ["1 local s3 only", "2<1 local s3", "3<2 local s3 only", "4<3 local s3 only"]
    assert "1 local" in kept(chain, Limits(0, 1, 3, 40))
    assert "2 local" not in kept(chain, Limits(0, 1, 3, 40))
    assert {"1 local", "3 local", "4 local"} <= {*kept(chain, NOTHING)}


def test_a_parent_that_is_needed_here_keeps_the_files_that_are_never_uploaded() -> None:
    history = ["1 local s3 only", "2 local unwanted", "3<1 local unwanted", "4<3 s3"]
    assert kept(history, NOTHING) == ["1 s3", "1 local", "3 local", "4 s3"]


def test_what_is_never_uploaded_stays_until_a_newer_chain_holds_it() -> None:
    assert "1 local" in kept(["1 local s3 only", "2 s3"], NOTHING)
    assert "1 local" not in kept(["1 local s3 only", "2 local s3 only"], NOTHING)
    lost = ["2 s3 lost", "3<2 local s3 only", "4 local s3 lost"]
    assert "1 local" in kept(["1 local s3 only", *lost], NOTHING)


def test_what_was_never_uploaded_goes_when_the_newest_here_holds_nothing_of_the_kind() -> None:
    assert kept(["1 local s3 only", "2 local s3"], DEFAULTS) == ["1 s3", "2 s3", "2 local"]


@pytest.mark.parametrize("place", ["s3", "local unwanted"])
def test_a_broken_chain_does_not_count_and_goes_when_a_newer_one_is_whole(place: str) -> None:
    history = [f"1 {place}", f"4<3 {place}", f"5<4 {place}", f"6 {place}"]
    assert kept(history, Limits(1, 9, 1, 9)) == [f"6 {place.split()[0]}"]
    assert kept(history, Limits(2, 9, 2, 9)) == [f"{n} {place.split()[0]}" for n in (1, 6)]


def test_a_broken_chain_stays_while_nothing_newer_can_be_restored() -> None:
    assert kept(["1 s3", "4<3 s3", "5<4 s3"], NOTHING) == ["1 s3", "4 s3", "5 s3"]
    assert kept(["4<3 s3", "5<4 s3"], NOTHING) == ["4 s3", "5 s3"]


def test_points_need_no_parents_but_the_newest_and_the_parents_of_the_unsent_stay() -> None:
    history = ["1 local s3", "2<1 local s3", "3<2 local s3", "4<3 local", "5<4 local"]
    assert kept(history, NOTHING, points=True) == [
        "1 s3", "2 s3", "3 s3", "3 local", "4 local", "5 local",
    ]  # fmt: skip
    sent = ["1 local s3", "2<1 local s3", "3<2 local s3"]
    assert kept(sent, NOTHING, points=True) == ["1 s3", "2 s3", "3 s3", "3 local"]


def test_a_point_whose_parent_is_gone_still_restores() -> None:
    assert kept(["2<1 local", "3 local s3"], Limits(1, 1, 1, 1), points=True) == [
        "2 local", "3 s3", "3 local",
    ]  # fmt: skip


def test_a_point_stays_for_the_increments_in_s3_that_nothing_else_completes() -> None:
    history = ["2<1 local s3", "3<2 s3", "4 local s3"]
    assert kept(history, Limits(0, 0, 1, 1), points=True) == ["2 local", "3 s3", "4 s3", "4 local"]


def test_a_point_that_can_never_be_sent_is_not_waited_for() -> None:
    history = ["1 s3", "2<1 local", "3 local s3"]
    assert kept(history, NOTHING, points=True) == ["3 s3", "3 local"]


def test_every_verdict_says_why() -> None:
    history = ["1 local s3", "2<1 local s3", "3 local s3", "4<3 local", "6<5 s3", "7 s3"]
    said = {
        _short(verdict): verdict.reason
        for verdict in decide(map(candidate, history), Limits(1, 1, 2, 0), Kept.FOLDERS)
    }
    assert said == {
        "7 s3": "one of the newest 2 bases in S3",
        "6 s3": "cannot be restored: a snapshot that it builds on is gone",
        "4 local": "the newest incremental on this host",
        "3 s3": "one of the newest 2 bases in S3",
        "3 local": "the newest base on this host",
        "2 s3": "no incrementals are to be kept in S3, and nobody needs it",
        "2 local": "not the newest incremental on this host, and nobody needs it",
        "1 s3": "not one of the newest 2 bases in S3, and nobody needs it",
        "1 local": "not the newest base on this host, and nobody needs it",
    }


def test_ten_thousand_snapshots_of_one_chain_are_decided_at_once() -> None:
    hours = [day(0) + timedelta(hours=number) for number in range(10_000)]
    history = [
        Candidate(Stored(SnapshotId(hour, parent), local=False, s3=True))
        for hour, parent in zip(hours, [None, *hours], strict=False)
    ]
    started = process_time()
    assert all(verdict.keep for verdict in decide(history, Limits(1, 3, 3, 5_000), Kept.FOLDERS))
    assert process_time() - started < 5


def test_the_most_generous_limits_of_all_objects_count() -> None:
    assert most_generous([Limits(1, 3, 3, 40), Limits(2, 0, 3, 50)]) == Limits(2, 3, 3, 50)
    ours, theirs = Limits(1, 1, 1, 1, 7, 0, 3, 0), Limits(1, 1, 1, 1, 0, 4, 2, 5)
    assert most_generous([ours, theirs]) == Limits(1, 1, 1, 1, 7, 4, 3, 5)


DATED = Limits(0, 0, 0, 0, days=2, weeks=2, months=2, years=2)


def nightly(nights: int, first: str = "2026-01-01") -> list[Candidate]:
    """A base each night, in S3."""
    begin = datetime.fromisoformat(f"{first}T03:00Z")
    times = (begin + timedelta(days=number) for number in range(nights))
    return [Candidate(Stored(SnapshotId(time), local=False, s3=True)) for time in times]


def reasons(history: Iterable[Candidate], limits: Limits, zone: str = "UTC") -> dict[str, str]:
    """Return the reason of each copy in S3 that stays, by its date, newest first."""
    verdicts = decide(history, limits, Kept.FOLDERS, ZoneInfo(zone))
    return {f"{each.snapshot.time:%Y-%m-%d %H:%M}": each.reason for each in verdicts if each.keep}


def test_the_newest_of_the_last_days_weeks_months_and_years_stays() -> None:
    assert reasons(nightly(400), DATED) == {
        "2027-02-04 03:00": "the newest that can be restored",
        "2027-02-03 03:00": "the newest of the day 2027-02-03",
        "2027-01-31 03:00": "the newest of the week 2027-W04",
        "2026-12-31 03:00": "the newest of the year 2026",
    }


def test_a_day_without_a_snapshot_takes_no_place() -> None:
    history = [candidate("1 s3"), candidate("2 s3"), candidate("30 s3")]
    assert len(reasons(history, replace(NOTHING, days=3))) == 3
    assert list(reasons(history, replace(NOTHING, days=2))) == [
        "2026-01-31 03:00", "2026-01-03 03:00",
    ]  # fmt: skip


def test_a_day_is_one_of_the_time_zone_and_a_week_one_of_iso_8601() -> None:
    late = datetime(2026, 12, 31, 22, 30, tzinfo=UTC)
    history = [
        Candidate(Stored(SnapshotId(late + timedelta(hours=hours)), local=False, s3=True))
        for hours in (0, 1)
    ]
    for period in ("days", "months", "years"):
        limits = replace(NOTHING, **{period: 9})
        assert len(reasons(history, limits)) == 1
        assert len(reasons(history, limits, "Europe/Berlin")) == 2
    assert len(reasons(history, replace(NOTHING, weeks=9), "Europe/Berlin")) == 1
    assert Period.WEEK.of(late, ZoneInfo("Europe/Berlin")) == "2026-W53"
    assert Period.WEEK.of(late + timedelta(days=4), UTC) == "2027-W01"


def test_what_cannot_be_restored_or_is_from_the_future_is_no_newest_of_its_day() -> None:
    history = [candidate("1 s3"), candidate("3<2 s3"), candidate("4 s3"), candidate("50 s3 ahead")]
    assert reasons(history, replace(NOTHING, days=2)) == {
        "2026-02-20 03:00": "the newest that can be restored",
        "2026-01-05 03:00": "the newest that can be restored",
        "2026-01-02 03:00": "the newest of the day 2026-01-02",
    }


def test_a_time_that_no_zone_can_name_is_named_in_utc() -> None:
    first = datetime(1, 1, 1, tzinfo=UTC)
    assert Period.DAY.of(first, ZoneInfo("America/New_York")) == "0001-01-01"
    assert Period.WEEK.of(first, ZoneInfo("America/New_York")) == "0001-W01"


def test_what_goes_is_told_by_which_periods_it_was_not_kept() -> None:
    history = [candidate("1 s3"), candidate("2<1 s3"), candidate("40 s3")]
    limits = replace(NOTHING, bases_s3=1, days=1, months=1)
    said = [each.reason for each in decide(history, limits, Kept.FOLDERS)]
    assert said == [
        "the newest base in S3",
        "not the newest of a day or month that is kept in S3, and nobody needs it",
        (
            "not the newest base in S3, nor the newest of a day or month that is kept, and nobody "
            "needs it"
        ),
    ]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_rotating_each_night_keeps_what_one_rotation_of_all_would(zone: str) -> None:
    """Else the newest of a month would be gone before the month is over."""
    limits = Limits(0, 0, 1, 0, days=7, weeks=4, months=6, years=2)
    nights = nightly(800)
    left: list[Candidate] = []
    for night in nights:
        history = [*left, night]
        left = carried_out(history, decide(history, limits, Kept.FOLDERS, ZoneInfo(zone)))
    whole = decide(nights, limits, Kept.FOLDERS, ZoneInfo(zone))
    assert left == carried_out(nights, whole)
    assert 14 <= len(left) <= 7 + 4 + 6 + 2


def test_what_is_held_stays_with_all_that_it_needs_and_says_why() -> None:
    history = ["1 s3", "2<1 s3", "3<2 s3 held", "4<3 s3", "5 s3"]
    assert kept(history, NOTHING) == ["1 s3", "2 s3", "3 s3", "5 s3"]
    said = {
        _short(each): each.reason
        for each in decide(map(candidate, history), NOTHING, Kept.FOLDERS)
    }
    assert said["3 s3"] == "held"
    assert said["1 s3"] == "20260104T030000Z-incr-20260103T030000Z needs it"


def test_what_is_held_is_kept_here_only_for_what_s3_lacks() -> None:
    assert kept(["1 local s3 held", "2 local s3"], NOTHING) == ["1 s3", "2 s3"]
    assert "1 local" in kept(["1 local s3 only held", "2 local s3 only"], NOTHING)
    assert kept(["1 local unwanted held", "2 local unwanted"], NOTHING) == ["1 local", "2 local"]
    assert surplus(["1 local held", "2 local", "3 local s3"], Limits(0, 0, 1, 0)) == [2]
    assert "2 local" in kept(["2<1 local s3 held", "3 local s3"], NOTHING, points=True)


def test_neither_time_nor_a_hold_counts_for_what_was_logged_since() -> None:
    history = ["1 s3 held", "2<1 s3", "40 s3", "41<40 s3", "70 s3", "71<70 s3"]
    verdicts = decide(map(candidate, history), Limits(0, 0, 1, 1, months=9), Kept.FOLDERS)
    assert [_short(each) for each in verdicts if each.keep] == [
        "71 s3", "70 s3", "41 s3", "40 s3", "2 s3", "1 s3",
    ]  # fmt: skip
    assert [_short(each) for each in verdicts if each.counted] == ["71 s3", "70 s3"]


def test_the_example_of_the_overview() -> None:
    nights = [datetime(2026, 8, 1, 3, tzinfo=UTC) + timedelta(days=n) for n in range(115)]
    ids = [
        SnapshotId(night, None if night.day == 1 else night - timedelta(days=1))
        for night in nights
    ]
    left: list[Candidate] = []
    for snapshot_id in ids:  # one run each night
        history = [*left, Candidate(Stored(snapshot_id, local=True, s3=True))]
        left = carried_out(history, decide(history, DEFAULTS, Kept.FOLDERS))
    assert nights[-1].date().isoformat() == "2026-11-23"
    assert [f"{each.stored.id.time:%b %d}" for each in left if each.stored.s3] == [
        "Sep 01",
        *(f"Oct {number:02}" for number in range(1, 32)),
        *(f"Nov {number:02}" for number in range(1, 24)),
    ]
    assert [f"{each.stored.id.time:%b %d}" for each in left if each.stored.local] == [
        "Nov 01", "Nov 21", "Nov 22", "Nov 23",
    ]  # fmt: skip
    reasons = {
        f"{verdict.snapshot.time:%b %d} {verdict.place}": verdict.reason
        for verdict in decide(left, DEFAULTS, Kept.FOLDERS)
    }
    assert reasons["Oct 14 s3"] == "one of the newest 40 incrementals in S3"
    assert reasons["Oct 13 s3"] == "20261031T030000Z-incr-20261030T030000Z needs it"


_STEPS = (1, 24, 24, 5 * 24, 30 * 24, 400 * 24)
"""Hours between two snapshots."""


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    """Draw any state that failures, people or changed configurations may have left."""
    history: list[Candidate] = []
    hours = [0, *accumulate(draw(st.lists(st.sampled_from(_STEPS), min_size=9, max_size=9)))]
    for number in range(draw(st.integers(0, 9))):
        parents = st.none() | st.integers(max(0, number - 3), number - 1) if number else st.none()
        parent = draw(parents)
        local, s3 = draw(
            st.sampled_from([(True, False), (False, True), (True, True), (False,) * 2])
        )
        taken = day(0) + timedelta(hours=hours[number])
        before = None if parent is None else day(0) + timedelta(hours=hours[parent])
        snapshot = SnapshotId(taken, before)
        if local or s3:
            unwanted, local_only, lost = (draw(st.booleans()) for _ in range(3))
            held = draw(st.sampled_from([None, None, "held"]))
            lying = Stored(snapshot, local, s3)
            history.append(Candidate(lying, unwanted, local_only, lost, held=held))
    return history


counts = st.integers(0, 3)
limits_ = st.builds(Limits, *[counts] * 4, *[st.just(0) | counts] * 4)


def carried_out(history: Sequence[Candidate], verdicts: Sequence[Verdict]) -> list[Candidate]:
    removed = {(verdict.snapshot, verdict.place) for verdict in verdicts if not verdict.keep}
    left = []
    for each in history:
        snapshot, local, s3 = each.stored
        local = local and (snapshot, Place.LOCAL) not in removed
        s3 = s3 and (snapshot, Place.S3) not in removed
        if local or s3:
            left.append(replace(each, stored=Stored(snapshot, local, s3)))
    return left


def chain_of(
    history: Sequence[Candidate], last: Candidate, points: bool
) -> list[Candidate] | None:
    """Return the snapshots that a restore of the last one reads; None where one is gone."""
    by_time = {each.stored.id.time: each for each in history}
    links = [last]
    while (parent := links[-1].stored.id.parent) and not (points and links[-1].stored.local):
        if parent not in by_time:
            return None
        links.append(by_time[parent])
    return links


def restorable(history: Sequence[Candidate], points: bool = False) -> set[SnapshotId]:
    return {each.stored.id for each in history if chain_of(history, each, points) is not None}


@given(histories(), limits_, st.booleans())
def test_there_is_one_verdict_a_copy(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    verdicts = [
        (verdict.snapshot, verdict.place) for verdict in decide(history, limits, lying(points))
    ]
    copies = {(each.stored.id, Place.LOCAL) for each in history if each.stored.local}
    copies |= {(each.stored.id, Place.S3) for each in history if each.stored.s3}
    assert len(verdicts) == len(set(verdicts))
    assert set(verdicts) == copies


@given(histories(), limits_, st.booleans())
def test_what_is_plainly_kept_as_a_whole_is_kept_one_by_one(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    if keeps_everything(stored(history), limits):
        assert all(verdict.keep for verdict in decide(history, limits, lying(points)))


@given(histories(), limits_, st.booleans())
def test_where_all_is_plainly_kept_even_once_uploaded_there_is_no_surplus(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    if keeps_everything([each._replace(s3=True) for each in stored(history)], limits):
        verdicts = decide(history, limits, lying(points))
        assert all(verdict.keep and not verdict.surplus for verdict in verdicts)


def test_what_is_within_the_limits_and_whole_is_plainly_kept() -> None:
    chain = stored(map(candidate, ["1 local s3", "2<1 local s3", "3<2 s3", "4 s3"]))
    assert keeps_everything(chain, Limits(1, 1, 2, 2))
    for fewer in (Limits(0, 1, 2, 2), Limits(1, 0, 2, 2), Limits(1, 1, 1, 2), Limits(1, 1, 2, 1)):
        assert not keeps_everything(chain, fewer)
    assert not keeps_everything([candidate("2<1 s3").stored], EVERYTHING)


@given(histories(), limits_, st.booleans())
def test_what_could_be_restored_and_stays_can_still_be_restored(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    left = carried_out(history, decide(history, limits, lying(points)))
    survivors = {each.stored.id for each in left} & restorable(history, points)
    assert survivors <= restorable(left, points)


@given(histories(), limits_, st.booleans())
def test_the_newest_that_can_be_restored_stays(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    before = restorable(history, points)
    left = carried_out(history, decide(history, limits, lying(points)))
    if before:
        assert max(before, key=lambda snapshot: snapshot.time) in restorable(left, points)


@given(histories(), limits_, st.booleans())
def test_the_newest_that_can_be_restored_from_s3_alone_stays(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    def in_s3(snapshots: list[Candidate]) -> list[Candidate]:
        there = (each for each in snapshots if each.stored.s3)
        return [replace(each, stored=each.stored._replace(local=False)) for each in there]

    before = restorable(in_s3(history))
    left = carried_out(history, decide(history, limits, lying(points)))
    if before:
        assert max(before, key=lambda snapshot: snapshot.time) in restorable(in_s3(left))


@given(histories(), limits_)
def test_a_snapshot_that_stays_here_keeps_the_files_that_are_never_uploaded(
    history: list[Candidate], limits: Limits
) -> None:
    left = stored(carried_out(history, decide(history, limits, Kept.FOLDERS)))
    here = {each.id for each in left if each.local}
    for each in history:
        for link in chain_of(history, each, points=False) or []:
            if each.stored.id in here and link.stored.local and link.local_only:
                assert link.stored.id in here


def uploaded(
    history: Sequence[Candidate], points: bool, without: Collection[SnapshotId] = ()
) -> list[Candidate]:
    """Return the history after a tb-upload, which sends a parent before its children."""
    there = {each.id.time for each in stored(history) if each.s3}
    here = {each.id.time for each in stored(history) if each.local}
    after = []
    for each in history:
        snapshot, parent = each.stored.id, each.stored.id.parent
        wanted = each.stored.local and each.wanted_in_s3 and snapshot not in without
        if wanted and (parent is None or (parent in there and (parent in here or not points))):
            there.add(snapshot.time)
        after.append(replace(each, stored=each.stored._replace(s3=snapshot.time in there)))
    return after


def surplus_of(history: list[Candidate], limits: Limits, points: bool) -> set[SnapshotId]:
    return {
        verdict.snapshot for verdict in decide(history, limits, lying(points)) if verdict.surplus
    }


@given(histories(), limits_, st.booleans())
def test_without_its_surplus_an_upload_ends_as_it_would_with_it(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    whole = uploaded(history, points)
    spared = uploaded(history, points, surplus_of(history, limits, points))
    left = carried_out(spared, decide(spared, limits, lying(points)))
    assert left == carried_out(whole, decide(whole, limits, lying(points)))


@given(histories(), limits_, st.booleans())
def test_what_is_uploaded_stays_in_s3_and_the_next_run_has_nothing_to_do(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    before = {each.id for each in stored(history) if each.s3}
    spared = uploaded(history, points, surplus_of(history, limits, points))
    verdicts = decide(spared, limits, lying(points))
    assert {
        verdict.snapshot for verdict in verdicts if not verdict.keep and verdict.place is Place.S3
    } <= before
    left = carried_out(spared, verdicts)
    assert uploaded(left, points, surplus_of(left, limits, points)) == left
    assert all(verdict.keep for verdict in decide(left, limits, lying(points)))


@given(histories(), limits_, st.booleans())
def test_nothing_that_is_still_to_be_uploaded_goes_before_it_is_in_s3(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    left = stored(carried_out(history, decide(history, limits, lying(points))))
    here = {each.id for each in left if each.local}
    after = uploaded(history, points, surplus_of(history, limits, points))
    whole = restorable(history, points)
    for each, then in zip(stored(history), stored(after), strict=True):
        if then.s3 and not each.s3 and each.id in whole:
            assert each.id in here


@pytest.mark.parametrize("points", [False, True])
def test_a_parent_stays_in_s3_until_what_waits_for_its_upload_is_there(points: bool) -> None:
    """Its own base lies on this host alone, so that no rule of S3 keeps it."""
    chain = ["1 local unwanted", "2<1 local s3", "3<2 local"]
    assert "2 s3" in kept(chain, NOTHING, points=points)


@given(histories(), limits_, st.booleans())
def test_deciding_again_removes_nothing(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    left = carried_out(history, decide(history, limits, lying(points)))
    assert all(verdict.keep for verdict in decide(left, limits, lying(points)))


@given(histories(), st.booleans())
def test_high_limits_remove_nothing_that_can_be_restored(
    history: list[Candidate], points: bool
) -> None:
    whole = restorable(history)
    for verdict in decide(history, EVERYTHING, lying(points)):
        assert verdict.keep or verdict.snapshot not in whole


@given(histories(), limits_, st.booleans())
def test_children_go_before_their_parents(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    gone: set[datetime] = set()
    for verdict in decide(history, limits, lying(points)):
        assert verdict.snapshot.parent not in gone
        gone.add(verdict.snapshot.time)


@given(histories(), limits_, st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]))
def test_the_newest_in_s3_of_each_last_period_stays(
    history: list[Candidate], limits: Limits, zone: str
) -> None:
    by_now = [replace(each, ahead=False) for each in history]
    whole = restorable(by_now)
    verdicts = decide(by_now, limits, Kept.FOLDERS, ZoneInfo(zone))
    there = {each.id for each in stored(by_now) if each.s3} & whole
    for form, most in (
        ("%Y-%m-%d", limits.days),
        ("%G-%V", limits.weeks),
        ("%Y-%m", limits.months),
        ("%Y", limits.years),
    ):
        newest: dict[str, SnapshotId] = {}
        for snapshot in sorted(there, key=lambda each: each.time):
            newest[snapshot.time.astimezone(ZoneInfo(zone)).strftime(form)] = snapshot
        last = sorted(newest)[len(newest) - min(most, len(newest)) :]
        assert {newest[name] for name in last} <= {
            verdict.snapshot for verdict in verdicts if verdict.keep and verdict.place is Place.S3
        }


@given(histories(), limits_, st.booleans())
def test_more_rules_keep_more(history: list[Candidate], limits: Limits, points: bool) -> None:
    free = [replace(each, held=None) for each in history]
    counts_alone = replace(limits, days=0, weeks=0, months=0, years=0)
    verdicts = decide(history, limits, lying(points))
    for with_all, with_counts in zip(
        verdicts, decide(free, counts_alone, lying(points)), strict=True
    ):
        assert with_all.keep or not with_counts.keep
        assert with_all.keep or not with_all.counted
        assert with_counts.counted == with_counts.keep


@given(histories(), limits_, st.booleans())
def test_what_is_held_and_whole_can_still_be_restored(
    history: list[Candidate], limits: Limits, points: bool
) -> None:
    held = {each.stored.id for each in history if each.held} & restorable(history, points)
    assert held <= restorable(carried_out(history, decide(history, limits, lying(points))), points)


@given(histories(), limits_)
def test_the_newest_of_each_kind_stay_up_to_the_limits(
    history: list[Candidate], limits: Limits
) -> None:
    whole = restorable(history)
    left = [verdict for verdict in decide(history, limits, Kept.FOLDERS) if verdict.keep]
    for place, kind, limit in (
        (Place.LOCAL, Kind.BASE, limits.bases_local),
        (Place.LOCAL, Kind.INCREMENTAL, limits.incrementals_local),
        (Place.S3, Kind.BASE, limits.bases_s3),
        (Place.S3, Kind.INCREMENTAL, limits.incrementals_s3),
    ):
        there = [
            each.id
            for each in stored(history)
            if (each.local if place is Place.LOCAL else each.s3) and each.id.kind is kind
        ]
        newest = sorted(whole & {*there}, key=lambda snapshot: snapshot.time)[::-1][:limit]
        assert {*newest} <= {verdict.snapshot for verdict in left if verdict.place is place}
