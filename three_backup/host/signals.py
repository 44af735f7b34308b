"""Ctrl-C and SIGTERM: they unwind the stack and wake every thread that waits in pause."""

import signal
from threading import Event
from types import FrameType
from typing import NoReturn

_told = Event()


class StoppedError(BaseException):
    """SIGTERM came; the stack unwinds as for Ctrl-C."""


def listen() -> None:
    """Let SIGTERM and Ctrl-C end the tool; a Ctrl-C that the shell had ignored stays ignored."""
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def pause(seconds: float) -> bool:
    """Wait, in any thread; return whether the tool was told to stop."""
    return _told.wait(seconds)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut the unwinding short
    _told.set()
    raise StoppedError


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _told.set()
    signal.default_int_handler(number, frame)
