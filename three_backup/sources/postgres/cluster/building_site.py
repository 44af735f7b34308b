"""The folders that a whole cluster is restored into: empty before, complete afterwards.

Everything is made in a folder inside the data directory whose name says that it is unfinished,
and moved up at the end. `PG_VERSION` moves last: no server starts without that file. A restore
that fails removes all that it made. The next restore recognises one that was killed, and says so.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwnam

from three_backup.errors import BackupError
from three_backup.host.durable import sync_directory
from three_backup.screen import formats
from three_backup.sources.postgres.scratch.folder import PGDATA, acting_as, own, stop_server
from three_backup.sources.postgres.scratch.server import can_enter

UNFINISHED = "tb-restore-unfinished"
_FOLDERS = "folders"
_LAST = "PG_VERSION"


@dataclass(frozen=True, slots=True)
class BuildingSite:
    """The folders of one restore."""

    directory: Path  # the data directory to be
    tablespaces: Mapping[int, Path]  # where each will lie, by its oid
    user: str | None  # will own the folders; None is the current user

    @property
    def folder(self) -> Path:
        """The folder to work in; move_in() or a failure removes it."""
        return self.directory / UNFINISHED

    @property
    def combined(self) -> Path:
        """The place of the data directory until it is complete."""
        return self.folder / PGDATA

    @property
    def folders(self) -> Sequence[Path]:
        return [self.directory, *self.tablespaces.values()]

    def move_in(self) -> None:
        """Move combined up into the data directory, durably if its content is durable."""
        with acting_as(self.user):
            for entry in sorted(self.combined.iterdir(), key=lambda entry: entry.name == _LAST):
                if entry.name == _LAST:
                    sync_directory(self.directory)
                entry.rename(self.directory / entry.name)
            shutil.rmtree(self.folder)
            sync_directory(self.directory)
        for folder in self.folders:
            sync_directory(folder.parent)


@contextmanager
def building_site(
    directory: Path, tablespaces: Mapping[int, Path], user: str | None
) -> Iterator[BuildingSite]:
    """Make the folders; remove all of them again if the block fails.

    Raises BackupError, and touches no file, where a folder cannot be used or is not empty; the
    server is ended that a killed restore left there.
    """
    site = BuildingSite(directory, tablespaces, user)
    _end_server_of_killed(site)
    check_folders(site)
    parents = dict.fromkeys(parent for folder in site.folders for parent in _missing(folder))
    made = [folder for folder in (*parents, *site.folders) if not folder.exists()]
    try:
        for parent in parents:
            _make_parent(parent, user)
        for folder in (*site.folders, site.folder):
            _make(folder, user)
        with acting_as(user):
            (site.folder / _FOLDERS).write_bytes(b"\n".join(map(os.fsencode, site.folders)))
        with _locked(site.folder):
            yield site
    except BaseException:
        _clear(site, made)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, which says that somebody is at work in it.

    Raises OSError if somebody is.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def _end_server_of_killed(site: BuildingSite) -> None:
    """End the server that replayed WAL for a restore that was killed."""
    with suppress(OSError), _locked(site.folder):
        stop_server(site.combined.resolve())


def check_folders(site: BuildingSite) -> None:
    """Raise BackupError where a folder cannot be used or is not empty."""
    _check_apart(site.folders)
    for folder in site.folders:
        _check_free(folder, site.user)


def check_room(needed: Mapping[Path, int]) -> None:
    """Raise BackupError where a disk has less room than its folders need together, in bytes."""
    by_disk: dict[int, tuple[Path, int]] = {}
    for folder, size in needed.items():
        first, known = by_disk.get(folder.stat().st_dev, (folder, 0))
        by_disk[folder.stat().st_dev] = first, known + size
    for folder, size in by_disk.values():
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < size:
            raise BackupError(
                "postgres.no_room",
                f"{folder}: the restore needs {formats.size(size)} there while it works, "
                f"{formats.size(free)} are free",
                "make room, or restore into a folder on a larger disk",
            )


def _check_apart(folders: Sequence[Path]) -> None:
    for folder in folders:
        for other in folders:
            if folder is not other and (folder == other or other in folder.parents):
                raise BackupError(
                    "postgres.tablespace_inside",
                    f"{folder}: it cannot be used, it is {'' if folder == other else 'inside of '}"
                    f"{other}, which is to be filled as well",
                    "give each tablespace a folder of its own (--tablespace-mapping OLD=NEW)",
                )


def _check_free(folder: Path, user: str | None) -> None:
    missing = _missing(folder)
    there = missing[0].parent if missing else folder.parent
    if not there.is_dir():
        raise _refused(folder, f"{there} is not a folder", "")
    if missing and not _is_ours(there, user):
        raise _refused(folder, f"the folder {folder.parent} is missing", "make it")
    if not can_enter(there, user):
        who = f"user {user}, who will own it," if user else "this user"
        raise _refused(folder, f"{who} may not enter {there}", "open it (chmod o+x)")
    if os.path.lexists(folder):
        _check_empty(folder)
    elif not os.access(there, os.W_OK):
        raise _refused(folder, f"{there} may not be written to", "")


def _missing(folder: Path) -> list[Path]:
    """Return the folders above that do not exist yet, the outermost first."""
    return [parent for parent in reversed(folder.parents) if not os.path.lexists(parent)]


def _is_ours(folder: Path, user: str | None) -> bool:
    """Tell whether nobody else can change what we make in the folder."""
    return folder.stat().st_uid in (os.geteuid(), *([getpwnam(user).pw_uid] if user else []))


def _check_empty(folder: Path) -> None:
    if not folder.is_dir():
        raise _refused(folder, "it is not a folder", "")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise _refused(folder, "it belongs to another user", "")
    if (folder / UNFINISHED).is_dir():
        raise _unfinished(folder)
    if any(folder.iterdir()):
        raise _refused(folder, "it is not empty", "empty it")


def _refused(folder: Path, why: str, remedy: str) -> BackupError:
    return BackupError(
        "postgres.no_folder",
        f"{folder}: it cannot be restored into, {why}",
        f"{remedy or 'let its owner or root restore'}, or name another folder (--pgdata DIR; for "
        "a tablespace --tablespace-mapping OLD=NEW)",
    )


def _unfinished(folder: Path) -> BackupError:
    others: list[str] = []
    with suppress(FileNotFoundError):  # killed before this file was written, the first of all
        others = os.fsdecode((folder / UNFINISHED / _FOLDERS).read_bytes()).split("\n")[1:]
    tablespaces = f" and its tablespaces, {', '.join(others)}," if others else ""
    return BackupError(
        "postgres.unfinished",
        f"{folder}: an earlier tb-restore was killed while it filled it, or still does",
        f"if none is at work there, empty it{tablespaces} and begin again",
    )


def _make_parent(folder: Path, user: str | None) -> None:
    """Make a folder that others may enter; it belongs to the owner of the one that it lies in."""
    with acting_as(user if folder.parent.stat().st_uid != os.geteuid() else None):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)


def _make(folder: Path, user: str | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    own(folder, user)


def _clear(site: BuildingSite, made: Sequence[Path]) -> None:
    """Empty the folders and remove those that were made; before, all were empty or absent."""
    for folder in site.folders:
        with suppress(FileNotFoundError), acting_as(site.user):
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()
    for folder in reversed(made):
        with suppress(OSError):  # it was not made yet, or somebody uses it meanwhile
            folder.rmdir()
