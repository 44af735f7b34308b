"""Run a program to read what it prints, or feed it; every failure is a BackupError."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import F_SETPIPE_SZ, fcntl
from io import BufferedIOBase, BufferedReader, RawIOBase
from typing import IO, Any, cast

from three_backup.command.program import Program
from three_backup.command.watched import Watched, check, watched

_BUFFER_SIZE = 1 << 20


def run(program: Program, given: str | bytes | None = None) -> str:
    """Return what the program printed on stdout. Without input its stdin is /dev/null.

    This waits until stdout is closed: a server that the program leaves behind must not inherit it.
    """
    encoded = given.encode() if isinstance(given, str) else given
    stdin = subprocess.DEVNULL if encoded is None else subprocess.PIPE
    with watched(program, stdin) as child:
        with suppress(BrokenPipeError):  # it may end before it has read everything
            child.write(encoded or b"")
        return Begun(child).output()


@dataclass(frozen=True, slots=True)
class Begun:
    """A program that has all its input and works on while others are waited for."""

    _child: Watched

    def speaks(self, seconds: float) -> bool:
        """Wait up to so many seconds; return whether it prints something or has ended."""
        return self._child.speaks(seconds)

    def output(self) -> str:
        """Wait for its end; return what it printed on stdout. Raises BackupError if it failed."""
        output = self._child.output()
        check(self._child)
        return output.decode("utf-8", "surrogateescape")


@contextmanager
def begun(program: Program, given: bytes) -> Iterator[Begun]:
    """Start the program and give it its input. What still runs after the block is ended.

    Nobody reads what it prints before output() does: more than a pipe holds would stop it.
    """
    with watched(program, subprocess.PIPE) as child:
        with suppress(BrokenPipeError):  # output() tells why it did not read everything
            child.write(given)
        child.close_stdin()
        yield Begun(child)


def pipe(left: Program, right: Program) -> str:
    """Run left | right and return what right printed. Raises BackupError if either failed."""
    with (
        watched(left, subprocess.DEVNULL) as writer,
        watched(right, subprocess.PIPE) as reader,
    ):
        _relay(writer, reader)
        output = reader.output()
        check(writer, reader)
    return output.decode("utf-8", "surrogateescape")


@contextmanager
def stream(program: Program, given: bytes | None = None) -> Iterator[BufferedIOBase]:
    """Yield the program's stdout, to be read while it runs. given: its input, before whose
    end it prints nothing.

    The stream ends only if the program exits 0; otherwise the last read raises BackupError. A
    program that is not read to its end is ended with the block.
    """
    with (
        watched(program, subprocess.DEVNULL if given is None else subprocess.PIPE) as child,
        BufferedReader(_CheckedOutput(child), _BUFFER_SIZE) as readable,
    ):
        if given is not None:
            with suppress(BrokenPipeError):  # the last read tells why it stopped reading
                child.write(given)
            child.close_stdin()
        _widen(child.stdout)
        yield readable


def feed(program: Program, pieces: Iterable[bytes]) -> None:
    """Write the pieces to the program's stdin.

    If pieces raises, the program is ended before it can take what it has for the whole.
    """
    with watched(program, subprocess.PIPE) as child:
        with suppress(BrokenPipeError):  # check tells why the program stopped reading
            for piece in pieces:
                child.write(piece)
        child.output()
        check(child)


def _relay(writer: Watched, reader: Watched) -> None:
    """Move all that the writer prints to the reader: only so is seen which of them is silent."""
    for end in (writer.stdout, reader.stdin):
        _widen(end)
    with suppress(BrokenPipeError):  # check tells why the reader stopped
        moved = True
        while moved:
            writer.await_stdout()
            reader.await_stdin()
            with suppress(BlockingIOError):
                source, target = writer.stdout.fileno(), reader.stdin.fileno()
                moved = bool(os.splice(source, target, _BUFFER_SIZE, flags=os.SPLICE_F_NONBLOCK))
    writer.stdout.close()  # else it gets no SIGPIPE where the reader is gone


def _widen(end: IO[bytes]) -> None:
    with suppress(OSError):  # Linux limits how much a user may have in pipes
        fcntl(end, F_SETPIPE_SZ, _BUFFER_SIZE)


class _CheckedOutput(RawIOBase):
    def __init__(self, child: Watched) -> None:
        self._child = child

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._child.await_stdout()
        count = cast(RawIOBase, self._child.stdout).readinto(buffer) or 0
        if count == 0:
            check(self._child)
        return count
