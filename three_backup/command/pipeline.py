"""Programs that are joined by pipes and write their errors to our stderr."""

import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from typing import IO, Any, cast

from three_backup.command.child import end, signals_deferred, start, wait
from three_backup.command.program import Program

_AFTER_INTERRUPT = 2.0
_GRACE = 8.0
"""Seconds that the programs have after SIGTERM: ours clean up for less."""
_SLICE = 1.0  # a signal that comes just before the process sleeps is handled only afterwards


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Running programs; each reads what the one before it prints."""

    processes: Sequence[subprocess.Popen[bytes]]
    output: IO[bytes]  # stdout of the last program

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def statuses(self) -> list[int]:
        """Wait for all; return their exit statuses, a signal as its negative number."""
        while wait(self.processes, _SLICE):
            pass
        return [process.returncode for process in self.processes]


@contextmanager
def joined(programs: Sequence[Program], inherited: Sequence[int] = ()) -> Iterator[Pipeline]:
    """Run first | second | ... | last with our stderr, and end them with the block.

    inherited: descriptors that every program keeps open. They are ours, and have deadlines of
    their own; here there is none.
    """
    processes: list[subprocess.Popen[bytes]] = []
    output: int | IO[bytes] = subprocess.DEVNULL
    try:
        for program in programs:
            with signals_deferred():
                processes.append(start(program, output, None, inherited))
            if not isinstance(output, int):
                output.close()  # else its writer gets no SIGPIPE when its reader is gone
            output = cast(IO[bytes], processes[-1].stdout)
        yield Pipeline(processes, BufferedReader(_Output(cast(RawIOBase, output))))
    except KeyboardInterrupt:
        wait(processes, _AFTER_INTERRUPT)  # Ctrl-C in a terminal reaches them, too
        raise
    finally:
        if not isinstance(output, int):
            output.close()
        end(processes, _GRACE)


class _Output(RawIOBase):
    """Output of the last program; a signal always interrupts the wait for it."""

    def __init__(self, output: RawIOBase) -> None:
        self._output, self._poll = output, select.poll()
        self._poll.register(output, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        while not self._poll.poll(_SLICE * 1000):
            pass
        return self._output.readinto(buffer)
