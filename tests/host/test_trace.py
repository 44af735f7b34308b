"""The trace of a run, read by a real socket where the journal's or syslog's would be."""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from three_backup.host.trace import Places, Priority, Trace

LONG = "x" * 500_000


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(path))
        bound.settimeout(20)
        yield bound


def fields(bound: socket.socket) -> dict[str, str]:
    """Receive an entry by the journal's native protocol, as systemd's own server does."""
    payload, descriptors, _, _ = socket.recv_fds(bound, 1 << 20, 1)
    if not payload:
        (descriptor,) = descriptors
        payload = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        with pytest.raises(PermissionError):  # nobody can change it while it is read
            os.write(descriptor, b"more")
        os.close(descriptor)
    found = {}
    while payload:
        line, _, payload = payload.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(payload[:8], "little")
            value, payload = payload[8 : 8 + size], payload[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


def places(folder: Path, file: Path | None = None) -> Places:
    return Places(folder / "journal", folder / "log", file)


def test_the_journal_gets_fields_to_look_for(tmp_path: Path) -> None:
    with listening(tmp_path / "journal") as journal, listening(tmp_path / "log"):
        run = Trace(places(tmp_path), "20261130T000000Z", "tb-run")
        run.write("the run begins")
        stage = Trace.of(run.environment, "tb-upload")
        failure = "postgres/cluster/7: the bucket refuses\nthe key = é \udce9"
        stage.write(failure, Priority.ERROR, about="postgres/cluster/7", code="s3.denied")
        assert fields(journal) == {
            "MESSAGE": "the run begins",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "tb-run",
            "STAGE": "tb-run",
            "RUN": "20261130T000000Z",
        }
        assert fields(journal) == {
            "MESSAGE": "postgres/cluster/7: the bucket refuses\nthe key = é %E9",
            "PRIORITY": "3",
            "SYSLOG_IDENTIFIER": "tb-run",
            "OBJECT": "postgres/cluster/7",
            "CODE": "s3.denied",
            "STAGE": "tb-upload",
            "RUN": "20261130T000000Z",
        }


def test_what_is_too_long_for_a_datagram_arrives_whole(tmp_path: Path) -> None:
    with listening(tmp_path / "journal") as journal:
        Trace(places(tmp_path)).write(LONG)
        assert fields(journal)["MESSAGE"] == LONG


def test_without_a_journal_syslog_gets_a_line(tmp_path: Path) -> None:
    with listening(tmp_path / "log") as log:
        trace = Trace(places(tmp_path), "now", "tb-plan")
        trace.write(
            "it is\nfull", Priority.WARNING, about="lxd/container/a/b/c", code="os.OSError"
        )
        line = f"<28>tb-run[{os.getpid()}]: tb-plan: lxd/container/a/b/c: it is full (os.OSError)"
        assert log.recv(1 << 16).decode() == line
        trace.write(LONG)
        assert 1000 < len(log.recv(1 << 20)) <= 8000


def test_a_file_gets_a_line_each_wherever_logrotate_moved_it(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    trace = Trace(places(tmp_path, file), "now", "tb-plan")
    trace.write("first")
    file.rename(tmp_path / "old.txt")
    trace.write("pg: second\nof two", Priority.ERROR, about="pg")
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ error tb-plan: pg: second of two\n"
    assert re.fullmatch(line, file.read_text())
    assert (tmp_path / "old.txt").read_text().endswith(" info tb-plan: first\n")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_trace_that_cannot_be_written_is_lost(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody reads it
    for file in (tmp_path, tmp_path / "none" / "file", tmp_path / "pipe"):
        Trace(places(tmp_path, file)).write("lost")
    with listening(tmp_path / "journal"):
        trace = Trace(places(tmp_path))
    trace.write("nobody listens any more")
    trace.write(LONG)


def test_a_journal_that_reads_nothing_delays_no_more_than_one_entry(tmp_path: Path) -> None:
    with listening(tmp_path / "journal") as journal:
        journal.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        trace = Trace(places(tmp_path))
        began = time.monotonic()
        for _ in range(5000):
            trace.write("x" * 100)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"run": "r"}', '{"run":"","journal":1,"syslog":"","file":""}']
)
def test_a_stage_with_a_spoilt_environment_traces_nothing(text: str) -> None:
    Trace.of({"THREE_BACKUP_TRACE": text}, "tb-plan").write("lost")
    Trace.of({}, "tb-plan").write("no run is at work")
