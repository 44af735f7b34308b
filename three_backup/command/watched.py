"""A watched child: its stderr is kept and its exit status is checked."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

from three_backup.command.child import end, signal_name, signals_deferred, start
from three_backup.command.program import Program
from three_backup.errors import BackupError

_HEAD_LINES = 2  # clickhouse-client prints which server failed, then the code, then advice
_TAIL_LINES = 40
_LINE_BYTES = 2000
_QUOTED_LINES = 3


class Tail:
    """The first and the last lines of a program's stderr; those between are dropped."""

    def __init__(self, readable: IO[bytes]) -> None:
        self._readable = readable
        self._head: list[bytes] = []
        self._lines: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def sentence(self, name: str) -> str:
        self._thread.join(timeout=1)  # a server that the program left behind may hold stderr open
        kept = (*self._head, *tuple(self._lines))
        lines = (line.decode("utf-8", "replace").strip() for line in kept)
        meaningful = list(dict.fromkeys(line.removeprefix(f"{name}: ") for line in lines if line))
        if len(meaningful) > _HEAD_LINES + _QUOTED_LINES:
            meaningful[_HEAD_LINES:-_QUOTED_LINES] = ["…"]
        return "; ".join(meaningful)

    def _collect(self) -> None:
        with self._readable:
            while line := self._readable.readline(_LINE_BYTES):
                if len(self._head) < _HEAD_LINES and line.strip():
                    self._head.append(line)
                else:
                    self._lines.append(line)


@dataclass(frozen=True, slots=True)
class Watched:
    """A started program; its stdout is a pipe."""

    program: Program
    process: subprocess.Popen[bytes]
    tail: Tail

    @property
    def stdout(self) -> IO[bytes]:
        return cast(IO[bytes], self.process.stdout)

    def output(self, given: bytes | None = None) -> bytes:
        """Return all that the program prints on stdout. Raises BackupError after its timeout.

        given: for its stdin, which must then be a pipe.
        """
        program, began = self.program, time.monotonic()
        while program.timeout is None or time.monotonic() - began < program.timeout:
            try:
                # At most a second: a signal just before a blocking read is handled after it.
                return self.process.communicate(given, timeout=min(1, program.timeout or 1))[0]
            except subprocess.TimeoutExpired:
                given = None  # it is being written already
        sentence = f"{program.name} did not end within {program.timeout:g} seconds and was ended"
        raise BackupError(program.code, program.about(sentence))

    def failure(self) -> str | None:
        """Wait for the end; return a sentence about the failure, None if there is none."""
        status = self.process.wait()
        if status == 0:
            return None
        how = f"exit status {status}" if status > 0 else f"ended by {signal_name(-status)}"
        said = self.program.redact(self.tail.sentence(self.program.name))
        return f"{self.program.name} failed ({how})" + (f": {said}" if said else "")


@contextmanager
def watched(program: Program, stdin: int | IO[bytes]) -> Iterator[Watched]:
    """Start the program, and end it with the block, whatever happens in there."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with signals_deferred():
            process, tail = _start_with_tail(program, stdin)
            processes.append(process)
        yield Watched(program, process, tail)
    finally:
        end(processes)
        for process in processes:
            for ours in filter(None, (process.stdin, process.stdout)):
                ours.close()


def check(*children: Watched) -> None:
    """Raise BackupError if a child failed.

    The first is not blamed if it died of SIGPIPE because the last, its reader, failed.
    """
    failures = [child.failure() for child in children]
    if len(children) > 1 and failures[-1] and children[0].process.returncode == -signal.SIGPIPE:
        failures = failures[1:]
    sentences = [failure for failure in failures if failure]
    if sentences:
        program = children[-1].program
        raise BackupError(program.code, program.about("; ".join(sentences)))


def _start_with_tail(
    program: Program, stdin: int | IO[bytes]
) -> tuple[subprocess.Popen[bytes], Tail]:
    ours, theirs = os.pipe()
    try:
        process = start(program, stdin, theirs)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, Tail(os.fdopen(ours, "rb"))
