"""tb-demo cleans up after itself, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.pipeline.test_failures import until
from three_backup.errors import Exit


@pytest.fixture
def demo(server_folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A tb-demo process that has just started, with a TMPDIR of its own."""
    environ = {**os.environ, "TMPDIR": str(server_folder / "show")}
    (server_folder / "show").mkdir(exist_ok=True, mode=0o711)
    argv = (sys.executable, "-u", "-m", "three_backup.demo")
    with subprocess.Popen(
        argv,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.terminate()


def read_until(process: "subprocess.Popen[str]", wanted: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return
    pytest.fail(f"tb-demo ended without printing {wanted}")


def running_in(folder: Path) -> list[str]:
    """Return the command lines of all running processes that contain the folder's path."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
            found += [words] if str(folder) in words else []
    return found


def test_nothing_is_left_of_a_demo_whose_terminal_is_closed(
    demo: "subprocess.Popen[str]", server_folder: Path
) -> None:
    read_until(demo, "A PostgreSQL with a shop")
    assert running_in(server_folder / "show")
    demo.send_signal(signal.SIGHUP)
    assert_all_is_gone(demo, server_folder / "show", Exit.TERMINATED)


def test_nothing_is_left_of_a_demo_that_is_interrupted_while_a_tool_works(
    demo: "subprocess.Popen[str]", server_folder: Path
) -> None:
    read_until(demo, "$ tb-run")
    # A tool that Python has not started yet could only end with Python's own words.
    until(lambda: any((server_folder / "show").rglob(".unfinished-*")))
    os.killpg(demo.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal
    assert_all_is_gone(demo, server_folder / "show", Exit.INTERRUPTED)


def assert_all_is_gone(demo: "subprocess.Popen[str]", folder: Path, status: Exit) -> None:
    _, complaints = demo.communicate()
    assert "Traceback" not in complaints
    assert demo.returncode == status
    assert list(folder.iterdir()) == []
    assert running_in(folder) == []
