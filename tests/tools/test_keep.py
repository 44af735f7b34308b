"""What tb-keep understands and shows, without a server."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from three_backup.errors import UsageError
from three_backup.tools.keep import Args

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
NOTHING: dict[str, Any] = {
    "PATTERN": "lxd",
    "SNAPSHOT": [],
    "--until": None,
    "--reason": None,
    "--release": False,
}


def until(text: str) -> datetime | None:
    return Args.of({**NOTHING, "--until": text}, BERLIN, NOW).until


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("36h", datetime(2026, 12, 2, tzinfo=UTC)),
        ("2026-12-24", datetime(2026, 12, 23, 23, tzinfo=UTC)),
        ("2026-12-24 18:00", datetime(2026, 12, 24, 17, tzinfo=UTC)),
        ("2026-12-24 18:00:00 CET", datetime(2026, 12, 24, 17, tzinfo=UTC)),
        ("2026-12-24T18:00:00Z", datetime(2026, 12, 24, 18, tzinfo=UTC)),
    ],
)
def test_a_time_may_be_written_as_people_write_it(text: str, meant: datetime) -> None:
    assert until(text) == meant


@pytest.mark.parametrize(
    "text", ["", "d", "soon", "2026-11-30", "0s", "9999-12-31T23:59:59-05:00"]
)
def test_a_time_that_is_none_or_is_over_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write 30d, 2026-12-24T18:00:00Z"):
        until(text)


def test_a_reason_is_one_line() -> None:
    args = Args.of({**NOTHING, "--reason": " red\033[31m\nnow "}, BERLIN, NOW)
    assert args.reason == "red [31m now"
