"""Ctrl-C, SIGTERM and SIGHUP: they unwind the stack and wake every thread that waits in pause.

Whatever is cleaned up meanwhile has LAST seconds for all its waits together, unless a tool allows
more; the next run clears what is left then. A tool that is stuck, in a call that no signal
interrupts, ends all the same.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

LAST = 5.0
"""Seconds after a signal in which servers are still waited for."""

_STUCK = 7.0
"""Seconds after those until the process ends, whatever it does."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(BaseException):
    """SIGTERM or SIGHUP came; the stack unwinds as for Ctrl-C."""


@dataclass(slots=True)
class _Told:
    """The exit that a signal asked for."""

    reason: type[BaseException] | None = None
    until: float = 0.0  # when the last wait ends, by the monotonic clock
    last: float = LAST


_event = threading.Event()
_told = _Told()


def listen() -> None:
    """Let SIGTERM, SIGHUP and Ctrl-C end the tool; what the shell had ignored stays ignored."""
    signal.signal(signal.SIGTERM, _handler(StoppedError))
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _handler(StoppedError))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handler(KeyboardInterrupt))
    threading.Thread(target=_end_at_last, name="last resort", daemon=True).start()


def allow(seconds: float) -> None:
    """Give clean-up after a signal so long, for a tool that only a signal ends."""
    _told.last = seconds


def pause(seconds: float) -> bool:
    """Wait, in any thread; return whether the tool was told to stop."""
    return _event.wait(seconds)


def time_left() -> float | None:
    """Return the seconds that are left for clean-up; None if the tool was not told to stop."""
    return max(0.0, _told.until - time.monotonic()) if _told.reason else None


def obey() -> None:
    """Raise again what the signal raised, in case a failure of the clean-up has replaced it."""
    if _told.reason is not None:
        raise _told.reason


def obey_beside() -> None:
    """Raise, in any thread but the main one, what the signal raised there.

    Only the main thread cleans up after a signal; the others are to end.
    """
    if threading.current_thread() is not threading.main_thread():
        obey()


def _handler(reason: type[BaseException]) -> Callable[[int, FrameType | None], None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in _ENDING:  # a second one must not cut the unwinding short
            if callable(signal.getsignal(number)):
                signal.signal(number, _ignore)
        _told.reason, _told.until = reason, time.monotonic() + _told.last
        _event.set()
        raise reason

    return stop


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. Unlike SIG_IGN, programs that the clean-up starts do not inherit it."""


def _end_at_last() -> None:
    _event.wait()
    time.sleep(_told.last + _STUCK)
    os._exit(128 + (signal.SIGINT if _told.reason is KeyboardInterrupt else signal.SIGTERM))
