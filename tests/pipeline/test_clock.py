"""Backups under a wrong or corrected clock, and two snapshots within a second."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.pipeline.conftest import Host
from three_backup.model.snapshots import SnapshotId

SHIFTED = """
import os
from datetime import timedelta
from three_backup.pipe.invocation import Invocation

clock = Invocation.clock
Invocation.clock = staticmethod(lambda: clock() + timedelta(seconds=int(os.environ["AHEAD"])))
"""
HOUR = 3600
COUNT = "select count(*) from visits"

Shift = Callable[[int], None]


@pytest.fixture
def host(host: Host) -> Host:
    """A host with real processes: sitecustomize.py shifts the clock as Python starts."""
    return host.real


@pytest.fixture
def shift(host: Host) -> Shift:
    """A function that sets the clock of the tools ahead by seconds, or back."""
    folder = host.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SHIFTED)
    host.environ["PYTHONPATH"] = os.pathsep.join((str(folder), host.environ["PYTHONPATH"]))

    def ahead(seconds: int) -> None:
        host.environ["AHEAD"] = str(seconds)

    ahead(0)
    host.execute("create table visits as select generate_series(1, 10) as id")
    return ahead


def snapshots(host: Host) -> list[SnapshotId]:
    listed = host.good("tb-list --stored --json").records[0]["snapshots"]
    found = [SnapshotId.parse(snapshot["id"]) for snapshot in listed]
    return [snapshot for snapshot in found if snapshot is not None]


def test_a_clock_that_was_ahead_and_is_corrected_keeps_no_backup_away(
    host: Host, shift: Shift
) -> None:
    shift(HOUR)
    host.good("tb-run")
    shift(0)
    host.execute("insert into visits values (11)")
    done = host.good("tb-run")
    assert "is from the future; check the clock" in done.stderr
    first, second = snapshots(host)
    assert first.time < second.time
    looked = host.sh("tb-status")
    assert "Traceback" not in looked.stderr
    host.wipe()
    for number, (snapshot, rows) in enumerate(((first, 10), (second, 11))):
        host.good(f"tb-restore --snapshot {snapshot} --level3 v{number} {host.table('visits')}")
        assert host.rows(COUNT.replace("visits", f"v{number}")) == [(rows,)]


def test_snapshots_follow_one_another_where_the_clock_does_not(host: Host, shift: Shift) -> None:
    shift(-int((datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)))
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    for number in (11, 12):
        host.execute(f"insert into visits values ({number})")
        shift(int(host.environ["AHEAD"]) - 30)
        host.good("tb-discover | tb-snapshot --incremental | tb-upload")
    first, second, third = snapshots(host)
    assert [snapshot.time - first.time for snapshot in (second, third)] == [
        timedelta(seconds=1),
        timedelta(seconds=2),
    ]
    host.wipe()
    host.good(f"tb-restore --level3 back {host.table('visits')}")
    assert host.rows(COUNT.replace("visits", "back")) == [(12,)]
