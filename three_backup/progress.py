"""Progress of a transfer: a bar for who looks on, a heartbeat for the lock of the run.

Nobody draws without a terminal. Of all the tools that share one, the one draws that claimed it
first, so that a pipeline typed by hand and the stages of tb-run never draw over one another.
"""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

HEARTBEAT = "THREE_BACKUP_HEARTBEAT"
"""The variable that names the file whose modification time says that the run is alive."""

_LONGEST_LABEL = 32
_SECONDS_BETWEEN_BEATS = 1.0


class _Drawing(Protocol):
    total: float | None

    def update(self, count: int) -> object: ...


class Transfer:
    """Called, by any thread, with the number of bytes moved since the last call."""

    def __init__(self, drawing: _Drawing | None) -> None:
        self._drawing = drawing
        self._beat = _heartbeat(os.environ.get(HEARTBEAT))
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._beat()
            if self._drawing is not None:
                self._drawing.update(count)

    def expect(self, count: int) -> None:
        """So many bytes more are to come, which nobody knew at the beginning."""
        with self._lock:
            if self._drawing is not None:
                self._drawing.total = (self._drawing.total or 0) + count


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Transfer]:
    """total: bytes, None where nobody knows them yet."""
    with _claimed_terminal() as ours, _drawing(label, total, ours) as drawing:
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
def _claimed_terminal() -> Iterator[bool]:
    """Whether we may draw: a flock on the terminal itself, which ends with the transfer."""
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield False
        return
    try:
        terminal = os.open(os.ttyname(sys.stderr.fileno()), os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # after su the terminal is another user's: only the last tool of a pipe draws
        yield sys.stdout is not None and sys.stdout.isatty()
        return
    try:
        fcntl.flock(terminal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except OSError:
        ours = False
    try:
        yield ours
    finally:
        os.close(terminal)


@contextmanager
def _drawing(label: str, total: int | None, ours: bool) -> Iterator[_Drawing | None]:
    if not ours:
        yield None
        return
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own,
    tqdm.set_lock(threading.RLock())  # and no semaphore shared with processes we do not have
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
