"""Run a program and have what it prints, or feed it; whatever fails is a BackupError."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fcntl import F_SETPIPE_SZ, fcntl
from io import BufferedIOBase, BufferedReader, RawIOBase
from typing import IO, Any, cast

from three_backup.command.program import Program
from three_backup.command.watched import Watched, check, watched

_BUFFER_SIZE = 1 << 20


def run(program: Program, input: str | bytes | None = None) -> str:
    """What the program printed on stdout. Without input its stdin is /dev/null.

    A program that leaves a server behind must give it another stdout: this waits for its end.
    """
    given = input.encode() if isinstance(input, str) else input
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    with watched(program, stdin) as child:
        output = child.output(given)
        check(child)
    return output.decode("utf-8", "surrogateescape")


def pipe(left: Program, right: Program) -> str:
    """left | right: what right printed on stdout. Raises where either failed."""
    with (
        watched(left, subprocess.DEVNULL) as writer,
        watched(right, writer.stdout) as reader,
    ):
        writer.stdout.close()  # or the writer never hears that the reader is gone
        output = reader.output()
        check(writer, reader)
    return output.decode("utf-8", "surrogateescape")


@contextmanager
def stream(program: Program) -> Iterator[BufferedIOBase]:
    """What the program prints on stdout, while it prints it.

    It has ended only when the program exited 0: the last read raises otherwise. A program that is
    not read to its end is ended with the block.
    """
    with (
        watched(program, subprocess.DEVNULL) as child,
        BufferedReader(_CheckedOutput(child), _BUFFER_SIZE) as readable,
    ):
        with suppress(OSError):  # users may have so many of this size
            fcntl(child.stdout, F_SETPIPE_SZ, _BUFFER_SIZE)
        yield readable


def feed(program: Program, pieces: Iterable[bytes]) -> None:
    """Write the pieces to the program's stdin. What is raised between them ends it before it can
    take what it has for the whole."""
    with watched(program, subprocess.PIPE) as child:
        stdin = cast(IO[bytes], child.process.stdin)
        with suppress(BrokenPipeError):  # it says itself why it reads no more
            for piece in pieces:
                left = memoryview(piece)
                while left:
                    left = left[stdin.write(left) :]
        stdin.close()
        child.process.stdin = None
        child.output()
        check(child)


class _CheckedOutput(RawIOBase):
    def __init__(self, child: Watched) -> None:
        self._child = child

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast(RawIOBase, self._child.stdout).readinto(buffer) or 0
        if count == 0:
            check(self._child)
        return count
