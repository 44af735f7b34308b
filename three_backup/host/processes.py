"""Find the processes that hold a lock, and end them without mistaking one for another."""

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_START_TIME = 22 - 3  # index of field 22 of /proc/PID/stat, counted from field 3
_ENDED = ("Z", "X")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process; start_time and the boot id tell it from a later one of the same number."""

    name: str = field(compare=False)  # of its program, for people
    pid: int
    start_time: int  # in clock ticks since the machine started
    uid: int  # of its owner

    @classmethod
    def of(cls, pid: int, name: str = "") -> Self | None:
        """Return the process, None if it has ended. name: default: from its command line."""
        folder = _PROC / str(pid)
        try:
            command, _, rest = (folder / "stat").read_text(errors="replace").rpartition(")")
            fields, uid = rest.split(), folder.stat().st_uid
            name = name or _script(folder) or command.partition("(")[2]
        except OSError:
            return None
        return None if fields[0] in _ENDED else cls(name, pid, int(fields[_START_TIME]), uid)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Holder.of(self.pid, self.name) == self

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def holders(path: Path) -> list[Holder]:
    """Return the processes that hold a flock on the file, including those that inherited it.

    A process that only waits for the flock is not among them. Root finds all processes, other
    users only their own.
    """
    status = path.stat()
    found = (
        Holder.of(pid)
        for pid in _pids()
        if any(_holds(pid, number) for number in _descriptors(pid, status))
    )
    return [holder for holder in found if holder is not None]


def end(victims: Iterable[Holder], grace: float) -> list[Holder]:
    """End the processes with SIGTERM and then SIGKILL; return those that are still alive.

    grace: seconds to wait after each of the two signals. A signal never reaches a later process
    of the same number.
    """
    with ExitStack() as stack:
        running = {holder: pidfd for holder in victims if (pidfd := _pidfd(holder)) is not None}
        for pidfd in running.values():
            stack.callback(os.close, pidfd)
        for number in (signal.SIGTERM, signal.SIGKILL):
            _send(running.values(), number)
            running = _still_running(running, grace)
    return list(running)


def _script(folder: Path) -> str | None:
    """Return the tool that the interpreter runs: tb-upload for `python3 /usr/bin/tb-upload`."""
    words = (folder / "cmdline").read_text(errors="replace").split("\0")[:3]
    names = (Path(word).name for word in words)
    return next((name for name in names if name.startswith("tb-")), None)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())


def _descriptors(pid: int, wanted: os.stat_result) -> list[str]:
    numbers = []
    with suppress(OSError):  # it has ended, or is another user's
        for entry in os.scandir(_PROC / str(pid) / "fd"):
            with suppress(OSError):
                status = entry.stat()
                if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                    numbers.append(entry.name)
    return numbers


def _holds(pid: int, number: str) -> bool:
    try:
        return "FLOCK" in (_PROC / str(pid) / "fdinfo" / number).read_text()
    except OSError:
        return False


def _pidfd(holder: Holder) -> int | None:
    try:
        pidfd = os.pidfd_open(holder.pid)
    except OSError:
        return None
    if holder.alive:
        return pidfd
    os.close(pidfd)
    return None


def _send(pidfds: Iterable[int], number: signal.Signals) -> None:
    for pidfd in pidfds:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)


def _still_running(running: dict[Holder, int], grace: float) -> dict[Holder, int]:
    """Wait up to grace seconds until all have ended; return those that have not."""
    waiting = dict(running)
    deadline = time.monotonic() + grace
    while waiting and (left := deadline - time.monotonic()) > 0:
        ended, _, _ = select.select(list(waiting.values()), [], [], left)
        waiting = {holder: pidfd for holder, pidfd in waiting.items() if pidfd not in ended}
    return waiting
