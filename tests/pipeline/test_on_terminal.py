"""On a terminal each tool ends in a table and sums; piped or with --json it writes records."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from tests.lab.terminal import on_terminal
from tests.pipeline.conftest import Host

SHELL = ("/bin/sh", "-c")
NONE_YET = ("there", "is", "no", "snapshot", "yet")
WORK = "tb-discover | tb-plan | tb-snapshot | tb-upload"


@pytest.fixture(scope="module")
def backed_up(host_of_module: Host) -> Host:
    """A host with a snapshot in S3, which tests must not change."""
    host = host_of_module
    host.execute("create table customers as select generate_series(1, 1000) as id")
    host.execute("create view everybody as select * from customers")
    host.good("tb-run")
    return host


def screen(host: Host, command: str, columns: int = 80, status: int = 0) -> list[str]:
    """Return the lines that a command line leaves on a terminal; the others were cleared."""
    environ = {**host.real.environ, "NO_COLOR": "1"}
    ended, shown = on_terminal((*SHELL, command), environ, columns=columns, stdout=True)
    assert ended == status, shown
    lines = [re.split(r"\r|\033\[K", line)[-1] for line in shown.replace("\r\n", "\n").split("\n")]
    assert not any(line.startswith('{"v"') for line in lines)
    return lines


def test_every_tool_of_a_pipe_typed_by_hand_ends_in_a_table(host: Host) -> None:
    host.execute("create table customers as select generate_series(1, 200000) as id")
    (found,) = host.good(f"tb-discover -s {host.table('customers')}").records
    selected = f"tb-discover -s {found['id']}"
    shown = screen(host, selected)
    assert shown[0].split() == ["OBJECT", "KIND", "SIZE"]
    assert shown[1].split()[:2] == [found["id"], "table"]
    shown = screen(host, f"{selected} | tb-plan")
    assert shown[1].split() == [found["carrier"], "base", *NONE_YET]
    shown = screen(host, f"{selected} | tb-plan | tb-snapshot")
    assert shown[1].split()[:2] == [found["carrier"], "base"]
    assert "1 snapshot taken" in shown
    shown = screen(host, f"{selected} | tb-plan | tb-upload")
    assert shown[1].split()[:2] == [found["carrier"], "1"]
    assert "1 snapshot uploaded" in shown
    host.good(f"{selected} | tb-snapshot --base | tb-upload | tb-snapshot --base | tb-upload")
    shown = screen(host, f"{selected} | tb-rotate")
    assert shown[1].split() == [found["carrier"], "2", "-", "-"]
    shown = screen(host, f"tb-verify {found['id']}")
    assert shown[1].split()[:3] == [found["id"], "proved", "200000"]
    shown = screen(host, f"tb-restore --level3-suffix _2 {found['id']}")
    assert "1 object restored" in shown
    assert shown.count("1 object restored") == 1


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_of_a_table_is_wider_than_the_terminal(backed_up: Host, columns: int) -> None:
    commands = ("tb-discover", "tb-discover | tb-plan", "tb-verify postgres", WORK)
    for command in commands:
        assert max(map(len, screen(backed_up, command, columns))) <= columns


def test_records_are_written_where_somebody_asks_for_them(backed_up: Host) -> None:
    for command in ("tb-discover --json", "tb-discover | tb-plan --json", f"{WORK} --json"):
        _, shown = on_terminal((*SHELL, command), backed_up.real.environ, stdout=True)
        records = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
        assert [record["id"] for record in records] == [
            record["id"] for record in backed_up.good("tb-discover").records
        ]
        assert "OBJECT" not in shown


def test_a_restore_with_json_has_the_summary_beside_its_records(backed_up: Host) -> None:
    command = f"tb-restore --json --dry-run {backed_up.table('customers')} --level3-suffix _3"
    _, shown = on_terminal((*SHELL, command), backed_up.real.environ, stdout=True)
    assert '"would_restore":' in shown
    assert "nothing was touched; 1 object can be restored" in shown


def test_a_pipe_that_ends_elsewhere_has_records_and_no_summary(backed_up: Host) -> None:
    ended, shown = on_terminal(
        (*SHELL, f"{WORK} | head -1"), backed_up.real.environ, columns=4000, stdout=True
    )
    assert ended == 0
    (line,) = shown.splitlines()
    assert json.loads(line)["v"] == 1
    outcome = backed_up.good("tb-verify postgres")
    assert outcome.records
    assert outcome.stderr == ""


def test_a_failure_has_the_status_that_it_has_in_a_pipe(backed_up: Host) -> None:
    shown = screen(backed_up, "PGPORT=1 tb-discover -s postgres", status=69)
    assert "0 objects found; 1 failure" in shown
    record = json.dumps({"v": 1, "id": "postgres/table/none/public/gone"})
    ended, text = on_terminal(
        (*SHELL, "tb-restore"), backed_up.real.environ, stdout=True, stdin=f"{record}\nnonsense\n"
    )
    assert ended == 1
    assert "failed" in text


def test_the_bar_is_gone_before_the_table_comes(host: Host) -> None:
    host.execute(
        "create table filled as select string_agg(md5(i::text || j), '')"
        " from generate_series(1, 1000) i, generate_series(1, 300) j group by i"
    )
    for command in ("tb-discover | tb-snapshot | tb-upload", "tb-verify postgres"):
        ended, shown = on_terminal((*SHELL, command), host.real.environ, stdout=True)
        assert ended == 0
        assert "B/s" in shown
        *drawn, table = shown.partition("OBJECT")
        assert "B/s" not in table[1:]
        left = screen(host, "tb-discover | tb-snapshot | tb-upload")
        assert not any("B/s" in line for line in left)
        assert drawn


def test_no_bar_is_drawn_where_nobody_wants_one(backed_up: Host) -> None:
    _, shown = on_terminal(
        ("tb-verify", "--progress", "never", "postgres"), backed_up.real.environ, stdout=True
    )
    assert "B/s" not in shown


def test_what_was_done_before_a_ctrl_c_is_told(backed_up: Host) -> None:
    """The second record never comes: the tool waits for it when it is interrupted."""
    (first, *_) = backed_up.good("tb-discover").stdout.splitlines()
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ("tb-upload",),
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        env={**backed_up.real.environ, "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(f"{first}\n".encode())
        process.stdin.flush()
        _until_waiting(process.pid)
        process.send_signal(signal.SIGINT)
        shown = bytearray()
        with suppress(OSError):  # a terminal ends with EIO
            while piece := os.read(ours, 4096):
                shown += piece
    os.close(ours)
    assert process.returncode == 130
    assert "stopped before the end; until then:" in shown.decode()
    assert "nothing uploaded" in shown.decode()


def _until_waiting(pid: int) -> None:
    """Wait until the process has read all that it was given, and blocks on a read of its stdin."""
    calls = f"/proc/{pid}/syscall"
    for _ in range(600):
        with open(calls) as file:  # noqa: PTH123 - no file of the disk
            _, *arguments = file.read().split()
        if arguments[:1] == ["0x0"] and arguments[2:3] == ["0x10000"]:  # read(0, ..., 65536)
            return
        time.sleep(0.1)
    pytest.fail("the tool does not come to wait for records")
