"""How a hold is told to people, and to programs."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from three_backup.catalog.holds import Hold
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId

NIGHT = datetime(2026, 11, 29, 21, 20, 30, tzinfo=UTC)


def test_a_hold_is_told_on_the_clocks_of_the_host_and_recorded_in_utc() -> None:
    hold = Hold(Carrier("lxd/container/a/b/c"), SnapshotId(NIGHT), NIGHT, "the move")
    assert hold.told(ZoneInfo("Europe/Berlin")) == "held until 2026-11-29 22:20:30 CET: the move"
    assert hold.how == {"until": "2026-11-29T21:20:30Z", "reason": "the move"}
