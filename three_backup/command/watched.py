"""A watched child: its stderr is kept and its exit status is checked."""

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, cast

from three_backup.command.child import end, signal_name, signals_deferred, start, wait
from three_backup.command.program import Program
from three_backup.errors import BackupError
from three_backup.host.patience import Silence

_HEAD_LINES = 2  # clickhouse-client prints which server failed, then the code, then advice
_TAIL_LINES = 40
_LINE_BYTES = 2000
_QUOTED_LINES = 3
_PIECE = 1 << 16


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


class Watched:
    """A started program; its stdout is a pipe. A wait for it ends after a silence too long."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes], tail: Tail) -> None:
        self.program, self.process, self.tail = program, process, tail
        self._began, self._printed = time.monotonic(), bytearray()
        self._poll = select.poll()
        self._poll.register(self.stdout, select.POLLIN)
        self._silence = Silence(
            program.about(program.called),
            program.source,
            program.name,
            program.life and partial(program.life, process.pid),
        )
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)

    @property
    def stdout(self) -> IO[bytes]:
        return cast(IO[bytes], self.process.stdout)

    @property
    def stdin(self) -> IO[bytes]:
        return cast(IO[bytes], self.process.stdin)

    def write(self, piece: bytes) -> None:
        """Write to its stdin, and keep what it prints. Raises BrokenPipeError."""
        left = memoryview(piece)
        while left:
            self.await_stdin()
            with suppress(BlockingIOError):
                left = left[os.write(self.stdin.fileno(), left) :]

    def await_stdin(self) -> None:
        """Wait until it takes bytes on its stdin, and keep what it prints meanwhile."""
        self._silence.begin()
        self._poll.register(self.stdin, select.POLLOUT)
        while not self._look():
            pass
        self._poll.unregister(self.stdin)

    def await_stdout(self) -> None:
        """Wait until it prints or ends its stdout."""
        self._silence.begin()
        while not self._poll.poll(self._patience() * 1000):
            pass
        self._silence.broken()

    def speaks(self, seconds: float) -> bool:
        """Wait up to so many seconds; return whether it prints something or has ended."""
        return bool(self._poll.poll(seconds * 1000))

    def close_stdin(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
            self.process.stdin = None

    def output(self) -> bytes:
        """Close its stdin; return all that it prints. Raises BackupError after its timeout."""
        self.close_stdin()
        self._silence.begin()
        while not self.stdout.closed:
            self._look()
        return bytes(self._printed)

    def failure(self) -> str | None:
        """Wait for the end; return a sentence about the failure, None if there is none."""
        self._silence.begin()
        while wait([self.process], self._patience()):
            pass
        self._silence.broken()
        status = self.process.returncode
        if status == 0:
            return None
        how = f"exit status {status}" if status > 0 else f"ended by {signal_name(-status)}"
        said = self.program.redact(self.tail.sentence(self.program.name))
        return f"{self.program.name} failed ({how})" + (f": {said}" if said else "")

    def _look(self) -> bool:
        """Wait a moment, and keep what it prints; return whether it takes bytes on stdin."""
        ready = {number for number, _ in self._poll.poll(self._patience() * 1000)}
        if ready:
            self._silence.broken()
        if not self.stdout.closed and self.stdout.fileno() in ready:
            ready.remove(self.stdout.fileno())
            piece = os.read(self.stdout.fileno(), _PIECE)
            self._printed += piece
            if not piece:
                self._poll.unregister(self.stdout)
                self.stdout.close()
        return bool(ready)

    def _patience(self) -> float:
        """Return how many seconds to wait now. Raises BackupError where its time is over."""
        program = self.program
        if program.timeout is None:
            return self._silence.check()
        left = self._began + program.timeout - time.monotonic()
        if left <= 0:
            sentence = f"{program.name} did not end within {program.timeout:g} seconds"
            raise BackupError(program.code, program.about(f"{sentence} and was ended"))
        return min(left, 1.0)


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
