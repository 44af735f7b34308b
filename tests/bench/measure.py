"""Measure a line of shell: wall time, CPU time of its programs and servers, and memory."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from three_backup.demo.daemon import Account

_TICK = os.sysconf("SC_CLK_TCK")
_SHELL = ("bash", "-o", "pipefail", "-c")
_SAMPLED_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one run."""

    wall: float  # seconds
    cpu: float  # CPU seconds of the programs and the servers together
    server: float  # CPU seconds of the servers alone
    memory: int  # peak bytes of all programs that ran at the same time
    largest: int  # peak bytes of the largest program
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
    with tempfile.TemporaryFile() as output, _opened(stdin, fed_by) as source:
        server, started = _cpu_of(servers), time.monotonic()
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
        with _Watch(process.pid) as watch:
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{line}: exit status {process.returncode}")
        server = _cpu_of(servers) - server
        output.seek(0)
        printed = output.read().decode()
    cpu = usage.ru_utime + usage.ru_stime + server
    return Cost(wall, cpu, server, watch.memory, watch.largest, printed)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below the folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


class _Watch:
    """Sample the memory of a process and of its descendants while the block lasts.

    The kernel keeps the peak of each process, so only a process that starts and ends between two
    samples is missed.
    """

    def __init__(self, pid: int) -> None:
        self.memory = 0
        self.largest = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_SAMPLED_SECONDS):
            peaks = [_peak(pid) for pid in _tree(self._pid)]
            self.memory = max(self.memory, sum(peaks))
            self.largest = max(self.largest, *peaks)


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
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _peak(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def _cpu_of(servers: Sequence[int]) -> float:
    return sum(_cpu(pid) for server in servers for pid in _tree(server))


def _cpu(pid: int) -> float:
    """Return the CPU seconds of the process and of its children that have ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK
    return 0
