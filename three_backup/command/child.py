"""A child process: started as its Program says, and always ended, whatever signal comes."""

import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

from three_backup.command.program import Program
from three_backup.errors import BackupError
from three_backup.host import signals

GRACE = 10.0
"""Seconds that a program has between SIGTERM and SIGKILL."""

_GRACE_AFTER_SIGNAL = 2.0
_REAPED = 1.0
"""Seconds in which a killed program is gone, but for one that the kernel does not let go."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOCALE = {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}


def start(
    program: Program,
    stdin: int | IO[bytes],
    stderr: int | None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start the program, its stdout a pipe. inherited: descriptors that it keeps open."""
    account = None if program.user is None else _account(program)
    try:
        return subprocess.Popen(
            program.argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            pass_fds=inherited,
            env=_environment(program, account),
            cwd=program.cwd or (None if account is None else "/"),
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else (),
        )
    except OSError as error:
        raise _not_started(program, error) from error


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Delay what a signal raises to the end of the block; within, it would orphan a child."""
    came: list[signal.Signals] = []
    handlers: dict[signal.Signals, Callable[[int, None], object]] = {}
    try:
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():  # no other runs handlers
                for number in _ENDING:
                    handler = signal.getsignal(number)
                    if callable(handler):
                        handlers[number] = handler
                        stack.callback(signal.signal, number, handler)
                        signal.signal(
                            number, lambda number, _: came.append(signal.Signals(number))
                        )
            yield
    finally:
        for number in came[:1]:
            handlers[number](number, None)


def end(processes: Sequence[subprocess.Popen[bytes]], grace: float | None = None) -> None:
    """End the processes that still run: SIGTERM, up to grace seconds, SIGKILL.

    One in uninterruptible sleep stays: nobody can end it, and so nobody waits for it.
    """
    running = [process for process in processes if process.poll() is None]
    try:
        for process in running:
            process.terminate()
        wait(running, _grace() if grace is None else grace)
    finally:  # also if a signal cuts the wait short
        left = wait(running, 0)
        for process in left:
            process.kill()
        wait(left, _REAPED)


def wait(
    processes: Sequence[subprocess.Popen[bytes]], seconds: float
) -> list[subprocess.Popen[bytes]]:
    """Wait for the processes; return those that have not ended after so many seconds."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0, deadline - time.monotonic()))
    return [process for process in processes if process.poll() is None]


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _grace() -> float:
    left = signals.time_left()
    return GRACE if left is None else min(GRACE, _GRACE_AFTER_SIGNAL, left)


def _account(program: Program) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(program.user or "")
    except KeyError as error:
        raise BackupError(
            "command.user",
            program.about(f"there is no user {program.user} to run {program.name} as"),
            "create the user or name another one",
        ) from error


def _environment(program: Program, account: pwd.struct_passwd | None) -> dict[str, str]:
    environment: dict[str, str | None] = {**os.environ, **_LOCALE}
    if account is not None:
        environment.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    environment.update(program.environment)
    return {name: value for name, value in environment.items() if value is not None}


def _not_started(program: Program, error: OSError) -> BackupError:
    if isinstance(error, FileNotFoundError) and error.filename == program.argv[0]:
        hint = f"install {program.package}" if program.package else "install it"
        sentence = f"the program {program.argv[0]} is missing"
        return BackupError(
            "command.missing", program.about(sentence), f"{hint} or add its folder to PATH"
        )
    by = f" as user {program.user}" if program.user else ""
    why = f"{error.strerror}: {error.filename}" if error.filename else f"{error.strerror}"
    return BackupError(program.code, program.about(f"cannot run {program.name}{by}: {why}"))
