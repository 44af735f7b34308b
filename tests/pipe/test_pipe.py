"""The runtime that all tools share, tested with a tiny tool."""

import json
import os
import platform
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

import three_backup

PLACE = "test/thing/one/two"
ROOT = Path(__file__).parents[2]
TOOL = '''
"""tb-echo - give back what came in

Usage:
  tb-echo [options]

Options:
      --fail NAME  fail where an object has this level3
      --how WORD   what goes wrong then [default: failure]
  -h, --help       show this
      --version    show the version
"""
import os
import subprocess
import sys
import time

from three_backup import pipe
from three_backup.errors import BackupError, ConfigurationError, UnreachableError

HOW = {
    "failure": BackupError("echo.failed", "it does not echo", "shout"),
    "configuration": ConfigurationError("echo.config", "it is not set up"),
    "unreachable": UnreachableError("echo.away", "nobody is there"),
    "system": FileNotFoundError(2, "No such file or directory", "/cave"),
}

def run(invocation):
    def act(record):
        if record.object.level3 == "slow":
            time.sleep(0.2)
        while record.object.level3 == "gated" and not os.path.exists(f"{sys.argv[0]}.open"):
            time.sleep(0.01)
        if record.object.level3 == "lock":
            with open("lock", "w"):
                subprocess.run(["/bin/sh", "-c", "echo noise >&2"])
        if record.object.level3 == invocation.arguments["--fail"]:
            raise HOW[invocation.arguments["--how"]]
        return record
    invocation.each(act)

raise SystemExit(pipe.main(__doc__, run))
'''


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tool") / "tb_echo.py"
    path.write_text(TOOL.lstrip())
    return str(path)


def line(name: str) -> str:
    return f'{{"v":1,"id":"{PLACE}/{name}"}}\n'


def echo(tool: str, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, tool, *argv],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=environ(),
    )


@contextmanager
def running(tool: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the tool, and yield it once it answers a record: then its handlers are in place."""
    with subprocess.Popen(
        [sys.executable, tool],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environ(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line("a").encode())
        assert process.stdout.read(1)
        yield process


def environ() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def test_records_pass_in_order(tool: str) -> None:
    lines = "".join(map(line, "cab"))
    done = echo(tool, stdin=lines)
    assert (done.returncode, done.stdout, done.stderr) == (0, lines, "")


def test_a_record_that_nobody_changes_is_given_on_byte_for_byte(tool: str) -> None:
    spelt = f'{{ "id": "{PLACE}/ä",\t"v": 1, "of": "\\u00e4 \\ud83d", "n": 1.50 }}'
    assert echo(tool, stdin=f"\n  {spelt} \r\n\n").stdout == f"{spelt}\n"


def test_a_line_may_be_of_any_length_and_the_last_one_have_no_end(tool: str) -> None:
    long = f'{{"v":1,"id":"{PLACE}/a","of":"{"x" * 1_000_000}"}}'
    last = line("b").rstrip("\n")
    assert echo(tool, stdin=f"{long}\n{last}").stdout == f"{long}\n{last}\n"


def test_a_record_with_nothing_left_to_do_does_not_wait_for_the_next_one(tool: str) -> None:
    done = f'{{"v":1,"id":"{PLACE}/b","todo":[]}}\n'
    with running(tool) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(2 * done.encode())
        answers = [process.stdout.readline().decode() for _ in "abb"]
        assert answers == [line("a")[1:], done, done]
        process.stdin.close()
        assert process.wait() == 0


def test_a_record_that_took_time_does_not_wait_for_the_next_one(tool: str) -> None:
    slow, gated = (f'{{"v":1,"id":"{PLACE}/{name}","todo":[]}}\n' for name in ("slow", "gated"))
    with running(tool) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline()
        impatient = Timer(30, process.kill)
        impatient.start()
        process.stdin.write(f"{slow}{gated}".encode())
        assert process.stdout.readline().decode() == slow
        Path(f"{tool}.open").touch()
        assert process.stdout.readline().decode() == gated
        impatient.cancel()
        process.stdin.close()
        assert process.wait() == 0


def test_a_failure_travels_in_the_record_and_the_others_go_on(tool: str) -> None:
    done = echo(tool, "--fail", "b", stdin="".join(map(line, "abc")))
    assert done.returncode == 1
    assert done.stderr == f"tb-echo: {PLACE}/b: it does not echo; shout\n"
    records = [json.loads(text) for text in done.stdout.splitlines()]
    assert [record.get("error", {}).get("code") for record in records] == [
        None,
        "echo.failed",
        None,
    ]


def test_a_record_that_failed_before_is_copied_and_decides_the_status(tool: str) -> None:
    failed = json.dumps({"v": 1, "id": "b", "error": {"code": "x"}}) + "\n"
    done = echo(tool, "--fail", "b", stdin=failed)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (1, json.loads(failed), "")


@pytest.mark.parametrize(
    ("how", "status"), [("failure", 1), ("configuration", 78), ("unreachable", 69), ("system", 1)]
)
def test_the_status_says_what_kind_of_failure(tool: str, how: str, status: int) -> None:
    assert echo(tool, "--fail", "b", "--how", how, stdin=line("b")).returncode == status


def test_one_server_that_is_away_is_not_all_of_them(tool: str) -> None:
    done = echo(tool, "--fail", "b", "--how", "unreachable", stdin=line("a") + line("b"))
    assert done.returncode == 1


def test_what_the_system_refuses_is_a_sentence(tool: str) -> None:
    done = echo(tool, "--fail", "b", "--how", "system", stdin=line("b"))
    assert done.stderr == f"tb-echo: {PLACE}/b: /cave: no such file or directory\n"


def test_a_wrong_option_is_named_in_one_line(tool: str) -> None:
    done = echo(tool, "--fial", "b")
    assert done.returncode == 2
    assert done.stderr == "tb-echo: cannot make sense of --fial b; see tb-echo --help\n"


def test_help_and_version_are_for_standard_output(tool: str) -> None:
    assert echo(tool, "--help").stdout.startswith("tb-echo - give back")
    version = echo(tool, "--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "tb-echo")


def test_the_version_tells_which_installation_it_is(tool: str) -> None:
    python, folder = platform.python_version(), Path(three_backup.__file__).parents[1]
    expected = f"tb-echo {three_backup.__version__} (Python {python}, {folder})\n"
    assert echo(tool, "--version").stdout == expected


def test_a_terminal_is_no_source_of_records(tool: str) -> None:
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, tool],
        stdin=slave,
        capture_output=True,
        text=True,
        check=False,
        env=environ(),
    )
    os.close(master)
    os.close(slave)
    assert done.returncode == 2
    assert "pipe them in: tb-discover | tb-echo" in done.stderr


def test_a_reader_that_leaves_ends_it_quietly(tool: str) -> None:
    with running(tool) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(line("b").encode())
        process.stdin.close()
        assert (process.wait(), process.stderr.read()) == (141, b"")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_ends_it_quietly(tool: str, number: signal.Signals, status: int) -> None:
    with running(tool) as process:
        assert process.stderr is not None
        process.send_signal(number)
        assert (process.wait(), process.stderr.read()) == (status, b"")


def test_where_standard_error_is_closed_nothing_else_takes_its_place(
    tool: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} {tool} --fail b 2>&-"],
        input=line("a") + line("b") + line("lock") + line("c"),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environ(),
    )
    assert done.returncode == 1
    assert [json.loads(text)["id"][-1] for text in done.stdout.splitlines()] == [*"abkc"]
    assert Path(tmp_path, "lock").read_text() == ""


def test_where_standard_output_is_closed_it_says_so(tool: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} {tool} >&- <&-"],
        capture_output=True,
        text=True,
        check=False,
        env=environ(),
    )
    assert done.returncode == 2
    assert done.stderr == "tb-echo: standard output is closed; send it to /dev/null instead\n"


def test_a_full_disk_behind_standard_output_is_a_sentence(tool: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, tool],
            input=line("a"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environ(),
        )
    assert (done.returncode, done.stderr) == (
        1,
        (
            "tb-echo: no space left on device; "
            "make room there, or name another folder with local_dir or scratch_dir\n"
        ),
    )
