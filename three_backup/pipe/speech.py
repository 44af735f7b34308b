"""Makes standard output and standard error fit to be written to, and prints there."""

import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO

from three_backup.errors import Exit, UsageError, readable


def fill_closed_descriptors() -> None:
    """Put /dev/null where standard input, output or error is closed.

    Else the next file that is opened, the lock of the run say, would take that descriptor, and
    every child would write to it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            lowest_free = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(lowest_free, True)  # noqa: FBT003 - it takes no keywords
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def complain(line: str) -> None:
    """Print a line on standard error, even if nobody listens there any more."""
    with suppress(OSError, ValueError):
        print(f"{line_start(sys.stderr)}{readable(line)}", file=sys.stderr, flush=True)


def prompt(text: str) -> None:
    """Print a question on standard error; its answer is typed behind it."""
    print(readable(text), end="", file=sys.stderr, flush=True)


def line_start(stream: TextIO) -> str:
    """Return what clears the line of a terminal: a bar of a tool that was killed may stand there.

    So may one of another tool in the pipe.
    """
    usable = stream.isatty() and os.environ.get("TERM") != "dumb"
    return "\r\033[K" if usable else ""


def tell(line: str) -> None:
    """Print a line on standard output, for a tool that could not begin."""
    with suppress(OSError, ValueError):
        print(readable(line), flush=True)


def require_output() -> None:
    """Raise UsageError if standard output is closed: the next opened file would take its place."""
    if sys.stdout is None:
        raise UsageError(
            "output.closed", "standard output is closed", "send it to /dev/null instead"
        )


def speak_utf8() -> None:
    """Make standard output UTF-8 in any locale, as records are.

    A lone surrogate becomes `\\ud800` or the like, which JSON knows, too.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def silenced(status: Exit) -> Exit:
    """Return the status, after turning standard output to /dev/null.

    Nothing more can be written: this keeps the interpreter's own last flush from complaining.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return status
