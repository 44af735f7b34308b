"""Who holds a lock: processes known by more than their number, and how they are ended."""

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
_START_TIME = 22 - 3  # of the fields of /proc/PID/stat, counted from the state, the third
_ENDED = ("Z", "X")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process.

    name: of its program, for people. start_time: in clock ticks since the machine started; it and
    the boot id tell it from a later process of the same number. uid: whose it is.
    """

    name: str = field(compare=False)
    pid: int
    start_time: int
    uid: int

    @classmethod
    def of(cls, pid: int, name: str = "") -> Self | None:
        """None where it has ended. name: read from its command line where none is given."""
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
    """The processes that hold a flock on the file, those that inherited it too.

    Whoever only waits for it is none. Only processes that we may look at are found: for root all,
    otherwise our own.
    """
    status = path.stat()
    found = (
        Holder.of(pid)
        for pid in _pids()
        if any(_holds(pid, number) for number in _descriptors(pid, status))
    )
    return [holder for holder in found if holder is not None]


def end(victims: Iterable[Holder], grace: float) -> list[Holder]:
    """SIGTERM, grace seconds, SIGKILL; those that are still there after as many seconds more.

    A signal reaches the very process that was meant, never one that got its number later.
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
    """The tool that an interpreter runs there: `python3 /usr/bin/tb-upload` is tb-upload."""
    words = (folder / "cmdline").read_text(errors="replace").split("\0")[:3]
    names = (Path(word).name for word in words)
    return next((name for name in names if name.startswith("tb-")), None)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())


def _descriptors(pid: int, wanted: os.stat_result) -> list[str]:
    numbers = []
    with suppress(OSError):  # it has ended, or is somebody else's
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
    """What is left of them once all have ended or the seconds of grace are over."""
    waiting = dict(running)
    deadline = time.monotonic() + grace
    while waiting and (left := deadline - time.monotonic()) > 0:
        ended, _, _ = select.select(list(waiting.values()), [], [], left)
        waiting = {holder: pidfd for holder, pidfd in waiting.items() if pidfd not in ended}
    return waiting
