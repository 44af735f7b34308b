"""Run a program on a pseudo-terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

COLUMNS = 80


def on_terminal(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    columns: int = COLUMNS,
    stdout: bool = False,
    stdin: str | None = None,
) -> tuple[int, str]:
    """Run a program; return its exit status, and what the terminal shows of its stderr.

    stdout: its stdout is the terminal, too. stdin: what it reads in place of the terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    program = subprocess.Popen(
        argv,
        stdin=theirs if stdin is None else subprocess.PIPE,
        stdout=theirs if stdout else subprocess.DEVNULL,
        stderr=theirs,
        env=environ,
    )
    os.close(theirs)
    if program.stdin is not None:
        with program.stdin as written:
            written.write((stdin or "").encode())
    shown = bytearray()
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # a terminal ends with EIO
        pass
    os.close(ours)
    return program.wait(), shown.decode()
