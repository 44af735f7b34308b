"""Progress of a transfer: a bar for people, a heartbeat for the lock of the run.

Without a terminal no bar is drawn unless asked for. Of the tools that share a terminal, only the
first to claim it draws: a pipeline typed by hand and the stages of tb-run never draw over one
another.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from threading import Lock, RLock
from typing import Protocol

from three_backup.host.places import HEARTBEAT
from three_backup.screen.formats import size

_LONGEST_LABEL = 36  # "postgres/cluster/" and a system identifier
_SECONDS_BETWEEN_BEATS = 1.0


class When(StrEnum):
    """When a bar is drawn."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class _Drawing(Protocol):
    total: float | None
    initial: float

    def update(self, count: int) -> object: ...

    def set_postfix_str(self, text: str) -> None: ...


class Transfer:
    """Counts a transfer: any thread calls it with the bytes moved since the last call."""

    def __init__(self, drawing: _Drawing | None) -> None:
        self._drawing = drawing
        self._beat = _heartbeat(os.environ.get(HEARTBEAT))
        self._lock = Lock()
        self._resumed = 0
        self.moved = 0  # bytes so far

    def __call__(self, count: int) -> None:
        with self._lock:
            self._beat()
            self.moved += count
            if self._drawing is not None:
                self._drawing.update(count)

    def expect(self, count: int) -> None:
        """Add bytes to the total that were not known of at the beginning."""
        with self._lock:
            if self._drawing is not None:
                self._drawing.total = (self._drawing.total or 0) + count

    def resumed(self, count: int) -> None:
        """Count bytes that an earlier run moved already: they do not count for the rate."""
        with self._lock:
            self._beat()
            self._resumed += count
            if self._drawing is not None:
                self._drawing.initial += count
                self._drawing.update(count)
                self._drawing.set_postfix_str(f"{size(self._resumed)} resumed")


@contextmanager
def bar(label: str, total: int | None, when: When = When.AUTO) -> Iterator[Transfer]:
    """Draw a bar while a transfer runs. total: bytes, None where not known yet."""
    with _claimed(when) as ours, _drawing(label, total, ours=ours) as drawing:
        yield Transfer(drawing)


def _heartbeat(path: str | None) -> Callable[[], None]:
    last = -_SECONDS_BETWEEN_BEATS

    def beat() -> None:
        nonlocal last
        now = time.monotonic()
        if path and now - last >= _SECONDS_BETWEEN_BEATS:
            last = now
            with suppress(OSError):  # a run whose lock file was removed still does its work
                os.utime(path)

    return beat


@contextmanager
def _claimed(when: When) -> Iterator[bool]:
    """Tell whether we may draw: a flock on the terminal itself, held while the transfer runs."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    usable = terminal and os.environ.get("TERM") != "dumb"
    if when is When.NEVER or sys.stderr is None or (when is When.AUTO and not usable):
        yield False
        return
    try:
        shared = _opened(terminal=terminal)
    except OSError:  # after su the terminal is another user's: only the last tool of a pipe draws
        yield sys.stdout is not None and sys.stdout.isatty()
        return
    if shared is None:
        yield True
        return
    try:
        fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except OSError:
        ours = False
    try:
        yield ours
    finally:
        os.close(shared)


def _opened(*, terminal: bool) -> int | None:
    """Open what all tools that could draw here can lock: the terminal, else a file of the run.

    That file lies beside the lock of the run. None: each tool draws for itself.
    """
    if terminal:
        return os.open(os.ttyname(sys.stderr.fileno()), os.O_RDONLY | os.O_NOCTTY)
    run = os.environ.get(HEARTBEAT)
    return os.open(f"{run}.bar", os.O_RDWR | os.O_CREAT, 0o600) if run else None


@contextmanager
def _drawing(label: str, total: int | None, *, ours: bool) -> Iterator[_Drawing | None]:
    if not ours:
        yield None
        return
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own,
    tqdm.set_lock(RLock())  # and no semaphore shared with processes we do not have
    with tqdm(
        desc=_shortened(label),
        total=total,
        unit="B",
        unit_scale=True,
        leave=False,
        dynamic_ncols=True,
    ) as drawing:
        yield drawing


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"…{label[1 - _LONGEST_LABEL :]}"
