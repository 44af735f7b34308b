"""Standard output and standard error: fit to be written to, and what is printed there."""

import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper

from three_backup.errors import Exit, UsageError


def fill_closed_descriptors() -> None:
    """Put /dev/null where standard input, output or error is closed: the next file that is opened,
    the lock of the run say, would take its place, and be written to by every child."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def complain(line: str) -> None:
    """A line on standard error; nobody may be listening there any more."""
    with suppress(OSError, ValueError):
        # A bar, of this tool or of another one in the pipe, may stand in the line.
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{clear}{line}", file=sys.stderr, flush=True)


def tell(line: str) -> None:
    """A line on standard output, of a tool that could not begin."""
    with suppress(OSError, ValueError):
        print(line, flush=True)


def require_output() -> None:
    """Where standard output is closed, the next file that is opened would take its place."""
    if sys.stdout is None:
        raise UsageError(
            "output.closed", "standard output is closed", "send it to /dev/null instead"
        )


def speak_utf8() -> None:
    """Records are UTF-8 in any locale; what is none becomes `\\udc80`, which JSON knows, too."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def silenced(status: Exit) -> Exit:
    """Nothing more can be written: keep the interpreter's own last flush from complaining."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return status
