"""Walks through a tree in the order of its names, with one folder open at a time."""

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from three_backup.errors import BackupError
from three_backup.tree.paths import FILE, FOLDER, Found

_TOGETHER = 10_000
"""So many names of a folder are held and sorted at once."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a tree. It is looked at before the next one is asked for."""

    folder: int  # a descriptor of the folder that it lies in
    name: str
    path: str  # from the tree's folder on; "." for the tree
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def target(self) -> str:
        """Where a symbolic link leads to."""
        return os.readlink(self.name, dir_fd=self.folder)

    @property
    def place(self) -> str:
        """The path by which this process reaches it. It may be a link."""
        return f"/proc/self/fd/{self.folder}/{self.name}"

    def opened(self) -> int:
        """Open a file. Raises OSError."""
        return os.open(self.name, FILE, dir_fd=self.folder)


def walked(found: Found, *, whole: bool = False) -> Iterator[Entry]:
    """Yield what was found, and all that is below it, folders before what they hold.

    whole: sort the names of a folder however many they are.
    """
    first = Entry(found.folder, found.name, found.path, found.status)
    yield first
    if first.is_folder:
        together = sys.maxsize if whole else _TOGETHER
        with _Walk(os.dup(found.folder), found.path, found.status, together) as walk:
            yield from walk.entries()


@dataclass(slots=True)
class _Level:
    path: str
    inode: int
    names: Iterator[str]


class _Walk:
    """A walk whose depth costs no descriptors: the way up is by `..`."""

    def __init__(self, folder: int, path: str, status: os.stat_result, together: int) -> None:
        self._folder, self._device, self._together = folder, status.st_dev, together
        self._levels = [_Level(path, status.st_ino, _names(folder, together))]

    def __enter__(self) -> "_Walk":
        return self

    def __exit__(self, *failure: object) -> None:
        os.close(self._folder)

    def entries(self) -> Iterator[Entry]:
        while self._levels:
            level = self._levels[-1]
            name = next(level.names, None)
            if name is None:
                self._ascend()
                continue
            status = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            if status.st_dev != self._device:  # the folder .zfs, where it is visible
                continue
            path = name if level.path == "." else f"{level.path}/{name}"
            yield Entry(self._folder, name, path, status)
            if stat.S_ISDIR(status.st_mode):
                self._enter(name)
                self._levels.append(_Level(path, status.st_ino, self._names()))

    def _ascend(self) -> None:
        self._levels.pop()
        if self._levels:
            self._enter("..")
            if os.fstat(self._folder).st_ino != self._levels[-1].inode:
                raise BackupError("moved", f"{self._levels[-1].path}: it was moved meanwhile")

    def _names(self) -> Iterator[str]:
        return _names(self._folder, self._together)

    def _enter(self, name: str) -> None:
        folder = os.open(name, FOLDER, dir_fd=self._folder)
        os.close(self._folder)
        self._folder = folder


def _names(folder: int, together: int) -> Iterator[str]:
    """Yield the names in a folder, so many of them at a time sorted."""
    entries = os.scandir(folder)
    while True:
        some = [entry.name for entry in islice(entries, together)]
        if len(some) < together:
            entries.close()
        yield from sorted(some)
        if len(some) < together:
            return
