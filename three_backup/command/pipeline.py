"""Programs that are joined by pipes, and speak for themselves."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from typing import IO, cast

from three_backup.command.child import end, signals_deferred, start, wait
from three_backup.command.program import Program

_AFTER_INTERRUPT = 2.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Programs that run, each reading what the one before it prints. output: of the last one."""

    processes: Sequence[subprocess.Popen[bytes]]
    output: IO[bytes]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def statuses(self) -> list[int]:
        """How each ended, once all have: an exit status, or a signal as its negative number."""
        return [process.wait() for process in self.processes]


@contextmanager
def joined(programs: Sequence[Program], inherited: Sequence[int] = ()) -> Iterator[Pipeline]:
    """first | second | ... | last, their stderr ours; they have ended when the block has.

    inherited: descriptors that every one of them keeps open.
    """
    processes: list[subprocess.Popen[bytes]] = []
    output: int | IO[bytes] = subprocess.DEVNULL
    try:
        for program in programs:
            with signals_deferred():
                processes.append(start(program, output, None, inherited))
            if not isinstance(output, int):
                output.close()  # or its writer never hears that its reader is gone
            output = cast(IO[bytes], processes[-1].stdout)
        yield Pipeline(processes, BufferedReader(cast(RawIOBase, output)))
    except KeyboardInterrupt:
        wait(processes, _AFTER_INTERRUPT)  # from the terminal they have heard of it themselves
        raise
    finally:
        if not isinstance(output, int):
            output.close()
        end(processes)
