"""The table of snapshots, on a wide screen and on a narrow one."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from three_backup.deciding.due import Clock
from three_backup.model.objects import Carrier
from three_backup.watching.snapshot_table import snapshot_table

CLOCK = Clock(datetime(2026, 10, 26, 12, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
CLUSTER = Carrier("postgres/cluster/7300000000000000001")
BASE, INCREMENT = "20261025T003000Z-base", "20261025T013000Z-incr-20261025T003000Z"


def described(snapshot: str, **more: Any) -> dict[str, Any]:
    kind = "base" if snapshot.endswith("base") else "incremental"
    return {"id": snapshot, "kind": kind, "size": 1_230_000, "place": ["local", "s3"], **more}


def table(width: int | None, *snapshots: dict[str, Any]) -> list[str]:
    return snapshot_table([(CLUSTER, snapshots)], CLOCK, width).splitlines()


@pytest.mark.parametrize("width", [None, 120])
def test_each_snapshot_has_its_time_on_the_clocks_of_the_host(width: int | None) -> None:
    assert table(width, described(BASE), described(INCREMENT, missing="2026-10-25T00:30:00Z")) == [
        f"SNAPSHOT{' ' * 34}KIND{' ' * 20}SIZE  AGE  TAKEN                     PLACE",
        CLUSTER,
        f"  {BASE}{' ' * 19}base{' ' * 17}1.23 MB  35h  2026-10-25 02:30:00 CEST  local, s3",
        f"  {INCREMENT}  incremental, broken  1.23 MB  34h  2026-10-25 02:30:00 CET   local, s3",
    ]


def test_a_narrow_screen_shows_whole_ids_and_the_time_and_what_is_wrong() -> None:
    lines = table(80, described(BASE), described(INCREMENT))
    assert lines[2:] == [
        f"  {BASE}{' ' * 19}10-25 02:30 CEST  1.23 MB  local, s3",
        f"  {INCREMENT}  10-25 02:30 CET   1.23 MB  local, s3",
    ]
    assert max(map(len, lines)) <= 80
    assert table(80, described(BASE, hollow="2 files"))[-1].endswith("local, s3, hollow")


def test_without_a_snapshot_there_is_no_table() -> None:
    assert table(80) == []
