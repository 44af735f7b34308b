"""What owners on disk are called within is read out of the configuration."""

import json

import pytest

from three_backup.sources.lxd.looking.owners import owners
from three_backup.tree.request import OVERFLOW

_SPLIT = [
    {"Isuid": True, "Isgid": False, "Hostid": 1000, "Nsid": 1000, "Maprange": 1},
    {"Isuid": True, "Isgid": False, "Hostid": 100000, "Nsid": 0, "Maprange": 1000},
    {"Isuid": False, "Isgid": True, "Hostid": 200000, "Nsid": 0, "Maprange": 65536},
]


@pytest.mark.parametrize(
    ("subtype", "key"),
    [("container", "volatile.last_state.idmap"), ("volume", "volatile.idmap.last")],
)
def test_users_and_groups_are_mapped_by_ranges_of_their_own(subtype: str, key: str) -> None:
    known = owners(subtype, {"config": {key: json.dumps(_SPLIT)}})
    assert [known.user(number) for number in (1000, 100000, 100999, 101000, 0)] == [
        1000,
        0,
        999,
        OVERFLOW,
        OVERFLOW,
    ]
    assert [known.group(number) for number in (200044, 1000)] == [44, OVERFLOW]


@pytest.mark.parametrize("noted", [{}, {"volatile.last_state.idmap": "[]"}])
@pytest.mark.parametrize("more", [{}, {"volatile.idmap.next": json.dumps(_SPLIT)}])
def test_where_none_was_changed_on_disk_they_are_as_on_disk(
    noted: dict[str, str], more: dict[str, str]
) -> None:
    assert owners("container", {"config": {**noted, **more}}).user(33) == 33
