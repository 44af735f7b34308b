"""How long a restore takes, by what is known of others; and what is remembered of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.model.objects import Carrier
from three_backup.restoring import experience
from three_backup.restoring.foretelling import Experience, Way, foretold

NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)
CLUSTER, VISITS = Carrier("postgres/cluster/7"), Carrier("clickhouse/table/default/shop/visits")
GB, KB = 10**9, 1000


def known(
    moved: int, seconds: float, carrier: Carrier = CLUSTER, way: Way = Way.OBJECTS, days: int = 1
) -> Experience:
    return Experience(carrier, way, moved, seconds, NOW - timedelta(days=days))


def seconds(count: int, *experiences: Experience, way: Way = Way.OBJECTS) -> float | None:
    found = foretold(CLUSTER, way, count, experiences)
    return None if found is None else found.seconds


@pytest.mark.parametrize(("count", "expected"), [(GB, 60), (2 * GB, 120), (10 * GB, 600)])
def test_what_is_larger_takes_longer(count: int, expected: float) -> None:
    assert seconds(count, known(GB, 60)) == expected


def test_what_is_much_larger_than_all_that_is_known_is_not_foretold() -> None:
    assert seconds(11 * GB, known(GB, 60)) is None


def test_what_is_small_takes_as_long_as_what_is_even_smaller() -> None:
    assert seconds(5 * KB, known(GB, 60), known(8 * KB, 4)) == 4
    assert seconds(900 * KB, known(8 * KB, 4)) == 4


def test_the_one_that_is_most_alike_in_size_tells_it_the_newest_of_equals() -> None:
    assert seconds(GB, known(GB // 100, 1), known(2 * GB, 80)) == 40
    assert seconds(GB, known(GB, 60, days=9), known(GB, 50, days=2)) == 50


def test_what_is_known_of_the_carrier_goes_before_what_is_known_of_its_source() -> None:
    other = Carrier("postgres/cluster/8")
    assert seconds(GB, known(GB, 60, other), known(2 * GB, 80)) == 40
    assert seconds(GB, known(GB, 60, other)) == 60
    assert seconds(GB, known(GB, 60, VISITS)) is None


def test_one_kind_of_restore_tells_nothing_of_another() -> None:
    assert seconds(GB, known(GB, 60), way=Way.WHOLE) is None
    assert seconds(GB, known(GB, 60, way=Way.MOMENT), way=Way.MOMENT) == 60


def test_the_last_ten_of_a_carrier_are_remembered(tmp_path: Path) -> None:
    every = [known(number, 1.5, days=30 - number) for number in range(12)]
    visits = known(5, 2.5, VISITS)
    experience.remember(tmp_path, [visits, *every[:5]])
    experience.remember(tmp_path, every[5:])
    assert experience.read(tmp_path) == [visits, *every[2:]]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"v": 2}', b'{"v": 1, "restores": [{}]}', b'{"v": 1, "restores": 1}', b"\xb0"],
)
def test_a_damaged_memory_is_none_and_is_replaced(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "restores.json").write_bytes(body)
    assert experience.read(tmp_path) == []
    experience.remember(tmp_path, [known(1, 1)])
    assert experience.read(tmp_path) == [known(1, 1)]
