"""tb-run -q with real processes: warnings are said once until they change, failures always."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.terminal import on_terminal
from tests.tools.test_run import COPY, ERROR, ROOT, STAGES, Installation, ended, record

SPEAKING = '''"""tb-upload - say what the test wants to hear, and pass records on

Usage:
  tb-upload [options]

Options:
  -c, --config FILE    the configuration
      --progress WHEN  draw a bar [default: auto]
"""
import os, sys
from pathlib import Path
from three_backup import pipe

def run(invocation):
    for line in Path(__file__).with_name("warnings").read_text().splitlines():
        invocation.say(line)
    if Path(__file__).with_name("hangs").exists():
        print(flush=True)
        open(os.environ["RELEASE"]).read()
    invocation.each(lambda record: record)

sys.exit(pipe.main(__doc__, run))
'''
SLOW, OPEN = "tb-upload: the summaries are off\n", "tb-upload: others can read the file\n"


class Warned(Installation):
    """An installation whose tb-upload gives the warnings that the test wants."""

    def warns(self, *warnings: str) -> None:
        text = "".join(line.removeprefix("tb-upload: ") for line in warnings)
        (self.folder / "warnings").write_text(text)

    def said(self, *arguments: str) -> tuple[int, str]:
        """Run quietly; return the exit status and what standard error got."""
        status, output, errors = self.run("-q", *arguments)
        assert bool(output) == bool(status)
        return status, errors

    def fails(self, *, still: bool = True) -> None:
        self.discovers(record("users", **({"error": ERROR} if still else {})))


@pytest.fixture
def warned(tmp_path: Path) -> Iterator[Warned]:
    shutil.copy(ROOT / "bin/tb-run", tmp_path)
    built = Warned(tmp_path)
    os.mkfifo(built.release)
    for name in STAGES:
        built.stage(name, COPY)
    built.stage("tb-upload", SPEAKING)
    built.fails(still=False)
    built.warns(SLOW)
    yield built
    for started in built.running:
        started.terminate()
        started.communicate(timeout=60)


def test_a_warning_is_said_once_until_it_changes(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    assert warned.said() == (0, "")
    warned.warns(SLOW, OPEN)
    assert warned.said() == (0, OPEN)
    assert warned.said() == (0, "")


def test_a_warning_that_vanished_and_comes_back_is_new(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    warned.warns()
    assert warned.said() == (0, "")
    warned.warns(SLOW)
    assert warned.said() == (0, SLOW)


def test_where_the_run_fails_all_is_said(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    warned.warns(SLOW, OPEN)
    warned.fails()
    for _ in range(2):
        status, errors = warned.said()
        assert (status, sorted(errors.splitlines(keepends=True))) == (1, [OPEN, SLOW])
    warned.fails(still=False)
    assert warned.said() == (0, "")


def test_a_run_of_a_part_makes_no_warning_of_the_others_new(warned: Warned) -> None:
    warned.warns(SLOW, OPEN)
    assert warned.said() == (0, SLOW + OPEN)
    warned.warns(SLOW)
    assert warned.said("-s", "postgres") == (0, "")
    warned.warns(SLOW, OPEN)
    assert warned.said() == (0, "")


def test_runs_of_parts_alone_forget_what_vanished(warned: Warned) -> None:
    assert warned.said("-s", "postgres") == (0, SLOW)
    warned.warns(OPEN)
    assert warned.said("-s", "lxd") == (0, OPEN)
    warned.warns()
    assert warned.said("-s", "postgres") == (0, "")
    warned.warns(SLOW)
    assert warned.said("-s", "postgres") == (0, SLOW)


def test_without_quiet_everything_is_said_each_time(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    for _ in range(2):
        assert warned.run()[2] == SLOW


def test_a_terminal_hears_everything(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    options = ("-q", "-c", str(warned.folder / "configuration.yaml"))
    argv = (sys.executable, str(warned.folder / "tb-run"), *options)
    status, shown = on_terminal(argv, {**os.environ, "PYTHONPATH": str(ROOT)})
    assert (status, SLOW.strip() in shown) == (0, True)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"v": 2}', b'{"v": 1, "said": 7}', b"\xff\x00"]
)
def test_a_damaged_memory_is_an_empty_one(warned: Warned, content: bytes) -> None:
    warned.state.mkdir()
    (warned.state / "said.json").write_bytes(content)
    assert warned.said() == (0, SLOW)
    assert warned.said() == (0, "")
    assert not (warned.state / "said.ndjson").exists()


def test_what_was_held_back_of_a_killed_run_is_said_by_the_next(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    warned.warns(SLOW, OPEN)
    (warned.folder / "hangs").touch()
    started = warned.start("-q")
    assert started.stderr is not None
    assert started.stderr.readline() == OPEN  # what is new was said at once
    members = warned.members()
    pidfds = [os.pidfd_open(pid) for pid in members.values()]
    for pid in members.values():
        os.kill(pid, signal.SIGKILL)
    assert ended(pidfds)
    (warned.folder / "hangs").unlink()
    warned.warns()
    assert warned.said() == (0, SLOW)
    assert warned.said() == (0, "")


def test_what_was_held_back_is_said_where_the_run_is_stopped(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    warned.warns(SLOW, OPEN)
    (warned.folder / "hangs").touch()
    started = warned.start("-q")
    assert started.stderr is not None
    assert started.stderr.readline() == OPEN
    started.terminate()
    assert SLOW in started.communicate(timeout=60)[1]
    assert started.returncode == 143


def test_what_cannot_be_written_down_is_said(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    (warned.state / "said.ndjson").mkdir()
    for _ in range(2):
        status, errors = warned.said()
        assert (status, errors.startswith(SLOW)) == (0, True)
        assert "said.ndjson: what was said is not remembered" in errors


def test_a_sentence_cut_short_on_a_full_disk_spoils_no_other(warned: Warned) -> None:
    assert warned.said() == (0, SLOW)
    torn = b'\n{"line": "tb-upload: torn'
    held = json.dumps({"line": SLOW.strip(), "held": True}).encode()
    (warned.state / "said.ndjson").write_bytes(torn + b"\n" + held + b"\n")
    warned.warns()
    assert warned.said() == (0, SLOW)


def test_a_warning_of_tb_run_itself_is_said_once(warned: Warned) -> None:
    warned.warns()
    options = "    on_success: sh -c 'exit 3'\n"
    status, _, errors = warned.run("-q", options=options)
    assert (status, "on_success" in errors) == (0, True)
    assert warned.run("-q", options=options) == (0, "", "")
