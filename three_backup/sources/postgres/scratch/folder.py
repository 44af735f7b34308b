"""Make temporary folders that are removed afterwards; after SIGKILL the next run removes them.

A folder is in use while a process holds a flock on it; the kernel releases it with the process.
So the folder of a living run is never removed, and no clock or process number is trusted.
"""

import ctypes
import fcntl
import os
import pwd
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.host import signals

PGDATA = "pgdata"
"""The data directory of a scratch server, inside its folder."""

_LIBC = ctypes.PyDLL(None)  # keeps the interpreter's lock, which costs more than these calls
_NOBODY_NEW = -1
"""An invalid id: setfsuid() then changes nothing and returns the present one."""

_PREFIX = "three_backup-restore-"
_STOPPED_WITHIN_MS = 10_000
_LEAST_MS = 200


@contextmanager
def scratch_folder(parent: Path, user: str | None) -> Iterator[Path]:
    """Make a folder of mode 0700 in parent, owned by user, and remove it after the block.

    Folders that earlier runs left in parent are removed first. None means the current user.
    """
    parent = parent.resolve()  # stop_server() compares it with a path from the kernel
    _clear(parent, user)
    folder, lock = _locked_folder(parent)
    try:
        own(folder, user)
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


@contextmanager
def acting_as(user: str | None) -> Iterator[None]:
    """Have the kernel check the file accesses of this thread as those of the user; None: as ours.

    Root works so in folders that the user may change under its hands: whatever links the user
    plants there, nothing is written or moved where the user could not do it. What is made belongs
    to the user.
    """
    if user is None:
        yield
        return
    uid, gid = _account(user)
    try:
        _LIBC.setfsgid(gid)
        _LIBC.setfsuid(uid)
        if _LIBC.setfsuid(_NOBODY_NEW) != uid:
            raise BackupError(
                "postgres.scratch_user",
                f"postgres: this process may not act as user {user}",
                "run it as that user, or give it CAP_SETUID",
            )
        yield
    finally:
        _LIBC.setfsuid(os.geteuid())
        _LIBC.setfsgid(os.getegid())


def own(path: Path, user: str | None) -> None:
    if user is not None:
        os.chown(path, *_account(user), follow_symlinks=False)


@cache
def _account(user: str) -> tuple[int, int]:
    account = pwd.getpwnam(user)
    return account.pw_uid, account.pw_gid


def _clear(parent: Path, user: str | None) -> None:
    """Remove the folders that no living process holds; leave those of other users alone."""
    ours = {os.geteuid()} if user is None else {os.geteuid(), _account(user)[0]}
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(PermissionError, FileNotFoundError, NotADirectoryError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid in ours:
                    _remove_if_dead(folder, lock)
            finally:
                os.close(lock)


def _remove_if_dead(folder: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    _remove(folder)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    try:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            with suppress(FileNotFoundError):  # another process cleared it before it was locked
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if folder.exists():
                    return folder, lock
                os.close(lock)
    except OSError as error:
        raise BackupError(
            "postgres.scratch_folder",
            f"postgres: no temporary folder can be made in {parent}: {error.strerror}",
            "set scratch_dir to a folder with enough room",
        ) from error


def _remove(folder: Path) -> None:
    stop_server(folder / PGDATA)
    shutil.rmtree(folder)


def stop_server(pgdata: Path) -> None:
    """End the postmaster that runs in pgdata, if any; SIGQUIT is its immediate shutdown.

    pgdata: a path without symbolic links, as the kernel spells it. So a link to the data
    directory of another server ends nothing.
    """
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        process = int((pgdata / "postmaster.pid").read_text().partition("\n")[0])
        handle = os.pidfd_open(process)
        try:
            if Path(f"/proc/{process}/cwd").readlink() == pgdata:
                _end(handle)
        finally:
            os.close(handle)


def _end(handle: int) -> None:
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    for number in (signal.SIGQUIT, signal.SIGKILL):
        signal.pidfd_send_signal(handle, number)
        if ended.poll(_patience_ms()):
            return


def _patience_ms() -> float:
    left = signals.time_left()
    return _STOPPED_WITHIN_MS if left is None else max(left * 1000 / 2, _LEAST_MS)
