"""Talk to a program on a terminal of its own: read what it asks, type the answer."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.terminal import COLUMNS

_PATIENCE = 60.0
"""Seconds for an answer; backups are taken meanwhile."""


class Conversation:
    """A program at work, and what its terminal has shown so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self._raw = b""
        self._read = 0  # characters of the text that were awaited already

    @property
    def text(self) -> str:
        return self._raw.decode(errors="replace").replace("\r\n", "\n").replace("\r\x1b[K", "")

    def until(self, expected: str) -> str:
        """Wait until the terminal shows the text; return what came until then."""
        deadline = time.monotonic() + _PATIENCE
        while (found := self.text.find(expected, self._read)) < 0:
            if time.monotonic() > deadline or not self._more():
                raise AssertionError(f"{expected!r} does not come:\n{self.text}")
        before = self.text[self._read : found]
        self._read = found + len(expected)
        return before

    def type(self, line: str) -> None:
        os.write(self._terminal, f"{line}\n".encode())

    def press(self, key: bytes) -> None:
        os.write(self._terminal, key)

    def answer(self, **answers: str) -> None:
        """Answer questions in turn; an underscore in a name is a blank."""
        for question, line in answers.items():
            self.until(question.replace("_", " "))
            self.type(line)

    def end(self) -> int:
        """Read to the end, and return the exit status."""
        while self._more():
            pass
        return self.process.wait(_PATIENCE)

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def _more(self) -> bool:
        """Read what comes; return whether more may come."""
        ready, _, _ = select.select([self._terminal], [], [], 1.0)
        if not ready:
            return True
        try:
            piece = os.read(self._terminal, 4096)
        except OSError:  # a terminal ends with EIO
            return False
        self._raw += piece
        return bool(piece)


@contextmanager
def conversation(
    argv: Sequence[str], environ: Mapping[str, str], folder: Path, *, stdout: int | None = None
) -> Iterator[Conversation]:
    """Run a program whose terminal we hold; Ctrl-C reaches it. stdout: by default that too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        ("setsid", "--ctty", "--wait", *argv),
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=environ,
        cwd=folder,
    )
    os.close(theirs)
    try:
        yield Conversation(process, ours)
    finally:
        os.close(ours)  # hangs up
        process.wait(_PATIENCE)
