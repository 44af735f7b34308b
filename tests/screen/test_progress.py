"""A bar is drawn on a terminal only, and progress is a heartbeat for the lock of the run."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab.terminal import COLUMNS, on_terminal
from three_backup.host.places import HEARTBEAT
from three_backup.screen.progress import bar

COPY = """
import sys
from three_backup.screen.progress import bar
with bar("postgres/cluster/1", 1000) as advance:
    for _ in range(10):
        advance(100)
"""
COPY_IN_ONE = """
from three_backup.screen.progress import bar
with bar("outer", None) as outer, bar("inner", None) as inner:
    outer(1), inner(1)
"""


def drawn(script: str, environment: Mapping[str, str] | None = None) -> str:
    """Run the script on a terminal, and return what it shows."""
    argv = (sys.executable, "-c", script)
    status, shown = on_terminal(argv, {**os.environ, "TERM": "xterm", **(environment or {})})
    assert status == 0
    return shown


def test_a_terminal_sees_how_far_how_fast_and_how_long() -> None:
    shown = drawn(COPY)
    assert "postgres/cluster/1:" in shown
    assert "/1.00k" in shown
    assert "B/s" in shown


def test_the_bar_is_gone_when_the_transfer_is_over() -> None:
    assert drawn(COPY).split("\r")[-2].strip() == ""


def test_no_line_is_wider_than_the_terminal() -> None:
    shown = drawn(COPY.replace("cluster/1", "cluster/" + "1" * 100))
    assert max(map(len, shown.split("\r"))) <= COLUMNS


def test_a_dumb_terminal_stays_clean() -> None:
    assert drawn(COPY, {"TERM": "dumb"}) == ""


def test_one_terminal_shows_one_bar_at_a_time() -> None:
    shown = drawn(COPY_IN_ONE)
    assert "outer" in shown
    assert "inner" not in shown


def test_without_a_terminal_nothing_is_drawn() -> None:
    done = subprocess.run((sys.executable, "-c", COPY), capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_who_wants_none_gets_none_and_who_wants_one_gets_it_anywhere(tmp_path: Path) -> None:
    never = COPY.replace("1000)", "1000, When.NEVER)").replace("import bar", "import When, bar")
    assert drawn(never) == ""
    always = never.replace("NEVER", "ALWAYS")
    done = subprocess.run(
        (sys.executable, "-c", always), stderr=subprocess.PIPE, text=True, check=True
    )
    assert "postgres/cluster/1:" in done.stderr


def test_without_a_terminal_the_stages_of_a_run_draw_one_bar_at_a_time(tmp_path: Path) -> None:
    both = COPY_IN_ONE.replace("None)", "None, When.ALWAYS)").replace(
        "import bar", "import When, bar"
    )
    done = subprocess.run(
        (sys.executable, "-c", both),
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, HEARTBEAT: str(tmp_path / "run")},
    )
    assert "outer" in done.stderr
    assert "inner" not in done.stderr


def test_what_was_sent_before_is_named_and_counts_for_no_rate() -> None:
    shown = drawn(COPY.replace("advance(100)", "advance.resumed(100)"))
    assert "1 kB resumed" in shown
    assert "?B/s" in shown


def test_a_tool_that_draws_nothing_does_not_load_the_bar() -> None:
    script = f"{COPY}\nassert 'tqdm' not in sys.modules"
    subprocess.run((sys.executable, "-c", script), check=True)


def test_progress_is_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = tmp_path / "run"
    heartbeat.touch()
    os.utime(heartbeat, (0, 0))
    monkeypatch.setenv(HEARTBEAT, str(heartbeat))
    with bar("web", None) as advance:
        assert heartbeat.stat().st_mtime == 0
        advance(1)
        assert heartbeat.stat().st_mtime > 0
        os.utime(heartbeat, (0, 0))
        advance(1)
        assert heartbeat.stat().st_mtime == 0, "beats at most once a second"


def test_a_lost_heartbeat_file_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEARTBEAT, str(tmp_path / "gone"))
    with bar("web", 1) as advance:
        advance(1)
