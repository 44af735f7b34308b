"""A dry run of tb-rotate says how much goes for which reason, not a line a snapshot."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from three_backup.catalog.holds import Hold
from three_backup.model.objects import Carrier
from three_backup.model.retention import Place, Verdict
from three_backup.model.snapshots import SnapshotId
from three_backup.watching.foretold import Foretold

CARRIER = Carrier("postgres/cluster/7")
NIGHTS = [
    SnapshotId(datetime(2026, 11, 1, 23, 30, tzinfo=UTC) + timedelta(days=number))
    for number in range(9)
]
OLD = "not one of the newest 3 bases in S3, and nobody needs it"
BROKEN = "cannot be restored: a snapshot that it builds on is gone"


def test_each_reason_is_told_once_with_how_much_goes_and_when_it_was_taken() -> None:
    foretold = Foretold(ZoneInfo("Europe/Berlin"))
    going = [Verdict(night, Place.S3, keep=False, reason=OLD) for night in NIGHTS[:3]]
    staying = [Verdict(night, Place.S3, keep=True, reason="needed") for night in NIGHTS[3:]]
    sizes = dict.fromkeys(NIGHTS[:2], 1_000_000)
    foretold.add([*staying, *going], sizes, {}, {})
    here = Verdict(NIGHTS[0], Place.LOCAL, keep=False, reason=BROKEN)
    foretold.add([*going, here], {}, {}, {})
    assert list(foretold.sentences()) == [
        f"1 snapshot on this host would go, taken on 2026-11-02: {BROKEN}",
        (
            "6 snapshots of 2 MB in S3 would go, taken from 2026-11-02 to 2026-11-04, "
            f"of 2 carriers: {OLD}"
        ),
        "0 snapshots on this host and 6 in S3 would stay",
    ]


def test_what_is_held_is_named_with_its_reason() -> None:
    foretold = Foretold(UTC)
    verdicts = [Verdict(night, Place.S3, keep=True, reason="") for night in NIGHTS[:2]]
    holds = {night: Hold(CARRIER, night, reason="before the move") for night in NIGHTS[1:3]}
    foretold.add(verdicts, {}, holds, {})
    assert list(foretold.sentences()) == [
        "1 snapshot would stay, held for ever: before the move",
        "0 snapshots on this host and 2 in S3 would stay, none would go",
    ]


def test_what_is_locked_is_told_with_the_day_when_the_last_lock_ends() -> None:
    foretold = Foretold(UTC)
    ends = [datetime(2026, 12, day, 3, tzinfo=UTC) for day in (3, 5, 4)]
    for night, end in zip(NIGHTS[:3], ends, strict=True):
        kept = Verdict(night, Place.S3, keep=True, reason="locked")
        foretold.add([kept], {}, {}, {night: end})
    first, *_ = foretold.sentences()
    assert first == "3 snapshots in S3 would stay, locked until 2026-12-05"


def test_without_any_snapshot_nothing_is_said() -> None:
    assert list(Foretold(UTC).sentences()) == []
