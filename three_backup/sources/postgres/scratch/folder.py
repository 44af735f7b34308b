"""Temporary folders that are gone afterwards, even after SIGKILL: then the next run clears them.

A folder is alive as long as somebody holds a flock on it, which the kernel lets go of with the
process. So a folder of a living run is never cleared, and no clock or process number is trusted.
"""

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

PGDATA = "pgdata"
"""The data directory of a scratch server, inside its folder."""

_PREFIX = "three_backup-restore-"
_STOPPED_WITHIN_MS = 10_000


@contextmanager
def scratch_folder(parent: Path, user: str | None) -> Iterator[Path]:
    """A folder of mode 0700, the user's own; what an earlier run left in parent is cleared."""
    parent = parent.resolve()  # by that path the kernel knows what runs there
    _clear(parent, user)
    folder, lock = _locked_folder(parent)
    try:
        own(folder, user)
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def own(path: Path, user: str | None) -> None:
    if user is not None:
        os.chown(path, *_account(user), follow_symlinks=False)


@cache
def _account(user: str) -> tuple[int, int]:
    account = pwd.getpwnam(user)
    return account.pw_uid, account.pw_gid


def _clear(parent: Path, user: str | None) -> None:
    """Remove the folders that no living process holds; those of other users are theirs."""
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
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():  # else somebody cleared it before it was locked
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

    pgdata: as the kernel spells it, so that a link to another server's leads to nobody.
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
        if ended.poll(_STOPPED_WITHIN_MS):
            return
