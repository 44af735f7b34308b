"""A disk that filled while S3 was away is freed by the next runs, without manual help."""

from typing import Any

import pytest

from tests.pipeline.conftest import Host
from tests.pipeline.test_failures import MEGABYTE, NOWHERE
from tests.pipeline.test_resources import CYCLE, _mount, disk, only_root, said

ROOM = 200 * MEGABYTE
LITTLE = 256 << 10


@pytest.fixture
def filled(host: Host) -> Host:
    """A host with a table that needs more room than LITTLE."""
    host.execute(
        "create table noise as select i as id, sha512(i::text::bytea) as word"
        " from generate_series(1, 30000) i"
    )
    return host


def leave(host: Host, room: int) -> None:
    """Resize the disk of local_dir to have room for this many more bytes."""
    used = sum(path.stat().st_blocks * 512 for path in host.local_dir.rglob("*"))
    _mount("mount", "-o", f"remount,size={used + room}", str(host.local_dir))


@only_root
def test_what_fills_the_disk_goes_to_s3_and_away_before_more_is_taken(filled: Host) -> None:
    cycle = CYCLE.format("--base")
    with disk(filled.local_dir, f"size={ROOM}"):
        filled.configure(s3_endpoint=NOWHERE, s3_timeout="1s")
        for _ in range(3):
            filled.good("tb-discover | tb-snapshot --base")
        leave(filled, LITTLE)
        assert filled.sh(cycle).status == 1, "nothing can be sent while S3 is away"
        filled.configure()
        first = filled.good(cycle)
        assert "no room for a snapshot in" in first.stderr
        record = first.records[0]
        assert record["why"].startswith("no room for a snapshot in ")
        assert "snapshot" not in record
        assert len(record["uploaded"]["snapshots"]) == 3
        assert len(record["removed"]["local"]) == 2
        assert filled.good(cycle).records[0]["snapshot"]["kind"] == "base"


@only_root
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_stage": "synced_s3"},
        {"max_base_snapshots_local": 9, "max_base_snapshots_s3": 1},
        {"max_stage": "snapshot_incremental"},
    ],
)
def test_a_disk_on_which_nothing_can_be_spared_fails_the_snapshot(
    filled: Host, options: dict[str, Any]
) -> None:
    filled.configure(**options)
    with disk(filled.local_dir, f"size={ROOM}"):
        for _ in range(3):
            filled.good(CYCLE.format("--base"))
        leave(filled, LITTLE)
        for _ in range(2):
            full = f"{filled.local_dir}: no space left on device; make room there"
            said(filled.sh(CYCLE.format("--base")), full.lower())
