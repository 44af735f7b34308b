"""Measure a line of shell: wall time, CPU time of its programs and servers, and memory."""

import ctypes
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from three_backup.demo.daemon import Account

_TICK = os.sysconf("SC_CLK_TCK")
_SHELL = ("bash", "-o", "pipefail", "-c")
_SAMPLED_SECONDS = 0.02
_LEFT_SECONDS = 10
_ADOPTS_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_LIBC = ctypes.CDLL(None, use_errno=True)
_SERVER = "postgres"  # the name of each process of a PostgreSQL server


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one run."""

    wall: float  # seconds
    cpu: float  # CPU seconds of the programs and the servers together
    server: float  # CPU seconds of the servers alone
    memory: int  # peak bytes of all programs that ran at the same time
    largest: int  # peak bytes of the largest program
    unserved: int  # peak bytes of all programs but PostgreSQL's servers
    daemons: int  # programs that outlived what started them, as a server outlives pg_ctl
    output: str  # what the line printed
    size: int = 0  # bytes of the result; 0 where that is of no interest

    def of_size(self, size: int) -> "Cost":
        return replace(self, size=size)


def measure(
    line: str,
    environ: Mapping[str, str],
    servers: Sequence[int] = (),
    stdin: Path | None = None,
    fed_by: Sequence[str | Path] = (),
    account: Account | None = None,
) -> Cost:
    """Run the line to its end. Raises SystemExit where it fails.

    servers: pids whose CPU counts, with that of their children. stdin: a file to read. fed_by: a
    program whose output is piped in, and whose cost does not count.
    """
    runs_as = account or Account()
    _adopt_orphans()
    with tempfile.TemporaryFile() as output, _opened(stdin, fed_by) as source:
        server, started, others = _cpu_of(servers), time.monotonic(), set(_children(os.getpid()))
        process = subprocess.Popen(
            (*_SHELL, line),
            stdin=source,
            stdout=output,
            env=environ,
            cwd="/",
            user=runs_as.uid,
            group=runs_as.gid,
            extra_groups=runs_as.groups,
        )
        watch = _Watch(process.pid, others)
        with sampling(_SAMPLED_SECONDS, watch.look):
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{line}: exit status {process.returncode}")
        watch.await_orphans(line)
        server = _cpu_of(servers) - server
        output.seek(0)
        printed = output.read().decode()
    cpu = usage.ru_utime + usage.ru_stime + watch.cpu + server
    memory, largest, unserved = watch.memory, watch.largest, watch.unserved
    return Cost(wall, cpu, server, memory, largest, unserved, len(watch.orphans), printed)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below the folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def sampling(seconds: float, look: Callable[[], None]) -> Iterator[None]:
    """Call look every so many seconds, in a thread of its own, while the block lasts."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Watch:
    """The memory of a process and of its descendants, and the CPU time of those it leaves behind.

    A server that pg_ctl starts is left behind, and becomes a child of this process. The kernel
    keeps the peak of each process, so only a process that starts and ends between two samples is
    missed.
    """

    def __init__(self, pid: int, others: set[int]) -> None:
        """others: the children that this process had before."""
        self.memory = 0
        self.largest = 0
        self.unserved = 0
        self.cpu = 0.0
        self.orphans: set[int] = set()
        self._pid = pid
        self._others = others

    def look(self) -> None:
        orphans = self._orphans()
        peaks = [each for root in (self._pid, *orphans) for each in _peaks(root)]
        self.memory = max(self.memory, sum(peak for _, peak in peaks))
        self.largest = max([self.largest, *(peak for _, peak in peaks)])
        unserved = sum(peak for name, peak in peaks if name != _SERVER)
        self.unserved = max(self.unserved, unserved)
        self._reap(orphans)

    def await_orphans(self, line: str) -> None:
        """Wait until all that was left behind has ended. Raises SystemExit if something stays."""
        until = time.monotonic() + _LEFT_SECONDS
        while orphans := self._orphans():
            if time.monotonic() > until:
                raise SystemExit(f"{line}: it left process {orphans[0]} running")
            self._reap(orphans)
            time.sleep(_SAMPLED_SECONDS)

    def _orphans(self) -> list[int]:
        return [pid for pid in _children(os.getpid()) if pid not in {*self._others, self._pid}]

    def _reap(self, orphans: Sequence[int]) -> None:
        self.orphans |= set(orphans)
        for pid in orphans:
            reaped, _, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                self.cpu += usage.ru_utime + usage.ru_stime


def _adopt_orphans() -> None:
    """Let processes that lose their parent become children of this one, not of init."""
    if _LIBC.prctl(_ADOPTS_ORPHANS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@contextmanager
def _opened(stdin: Path | None, fed_by: Sequence[str | Path]) -> Iterator[int | IO[bytes]]:
    with ExitStack() as stack:
        if fed_by:
            feeding = stack.enter_context(subprocess.Popen(fed_by, stdout=subprocess.PIPE))
            assert feeding.stdout is not None
            yield feeding.stdout
        else:
            yield subprocess.DEVNULL if stdin is None else stack.enter_context(stdin.open("rb"))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in _children(pid):
        yield from _tree(child)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children


def _peaks(pid: int, parent: bytes = b"") -> Iterator[tuple[str, int]]:
    """Yield the name and the peak in bytes of the process and of its descendants.

    parent: the command line of the parent. A process that still has the same is a copy that has
    not become its own program yet, and shares the memory of its parent.
    """
    line = _command_line(pid)
    if line != parent:
        yield _peak(pid)
    for child in _children(pid):
        yield from _peaks(child, line)


def _command_line(pid: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _peak(pid: int) -> tuple[str, int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return fields["Name"].strip(), 1024 * int(fields.get("VmHWM", "0").split()[0])
    return "", 0


def _cpu_of(servers: Sequence[int]) -> float:
    return sum(_cpu(pid) for server in servers for pid in _tree(server))


def _cpu(pid: int) -> float:
    """Return the CPU seconds of the process and of its children that have ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK
    return 0
