"""Runs work in a guardian: a process in a session of its own that outlives this one, to clean up.

This process only waits for the guardian, hands on the signals that it gets, and ends as the
guardian did. However it ends itself, by SIGKILL too, the kernel closes its end of a pipe; then
the guardian ends its work as after SIGTERM.
"""

import os
import signal
from collections.abc import Callable
from threading import Thread

from three_backup.errors import BackupError

_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def guarded(work: Callable[[], int]) -> int:
    """Run the work in a guardian; return its exit status in both processes.

    Must be called before any thread is started. Raises BackupError where the guardian was killed.
    """
    # Blocked from before the fork on: none of them is lost, and none ends one process only.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_HANDED_ON, signal.SIGCHLD))
    watched, held = os.pipe()
    guardian = os.fork()
    if guardian == 0:
        os.close(held)
        os.setsid()  # what is typed at the terminal reaches the other process only
        Thread(target=_end_with, args=(watched,), name="end of the tool", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return work()
    os.close(watched)
    return _awaited(guardian)


def _end_with(watched: int) -> None:
    """End the work once the other end of the pipe is closed."""
    os.read(watched, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _awaited(guardian: int) -> int:
    while True:
        number = signal.sigwait((*_HANDED_ON, signal.SIGCHLD))
        if number != signal.SIGCHLD:
            os.kill(guardian, number)
        elif (ended := os.waitpid(guardian, os.WNOHANG)) != (0, 0):
            return _status(os.waitstatus_to_exitcode(ended[1]))


def _status(exit_code: int) -> int:
    if exit_code < 0:
        raise BackupError(
            "guardian.killed",
            f"its guardian was ended by {signal.Signals(-exit_code).name}, and cleaned up nothing",
            "the next run does that",
        )
    return exit_code
