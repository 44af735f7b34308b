"""The memory of the last runs stays small, and tells two runs of one second apart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from three_backup.watching.run_history import PastRun, read, remember

BEGAN = datetime(2026, 11, 23, 10, 17, tzinfo=UTC)


def test_the_last_twenty_runs_are_kept(tmp_path: Path) -> None:
    for number in range(25):
        remember(tmp_path, PastRun(BEGAN + timedelta(milliseconds=number), (f"lxd/{number}",)))
    assert [run.patterns for run in read(tmp_path)] == [(f"lxd/{n}",) for n in range(5, 25)]


def test_the_end_of_a_run_replaces_its_beginning(tmp_path: Path) -> None:
    remember(tmp_path, PastRun(BEGAN))
    remember(tmp_path, PastRun(BEGAN, status=0, ended_at=BEGAN, headline="all is well"))
    assert [run.status for run in read(tmp_path)] == [0]
