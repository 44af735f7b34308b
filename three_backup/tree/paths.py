"""Finds a path in a tree as a process would that has the tree as its root.

Links are followed within the tree and never out of it: each name is opened by itself, and no link
by the kernel. Nobody changes the tree meanwhile, as it is a snapshot.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice

from three_backup.errors import BackupError

NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel has it
_MOST_NAMES = 1000  # that are looked through for one that was meant
_LISTING = "--list names what is there"


@dataclass(slots=True)
class Found:
    """A path that was found, without links in it."""

    folder: int  # a descriptor of the folder that holds it; of the tree's own if it is the tree
    name: str  # in that folder; "." if it is the tree
    path: str  # from the tree's folder on; "." if it is the tree
    status: os.stat_result


@contextmanager
def opened(root: int, path: str) -> Iterator[Found]:
    """Find a path during the block. root: a descriptor of the tree's folder.

    Raises BackupError where there is no such path.
    """
    search = _Search(path, [os.dup(root)], os.fstat(root).st_dev)
    try:
        yield search.found()
    finally:
        for descriptor in search.folders:
            os.close(descriptor)


@dataclass(slots=True)
class _Search:
    """A walk along a path."""

    wanted: str
    folders: list[int]  # open ones, from the tree's own on
    device: int
    names: list[str] = field(default_factory=list)  # of all folders but the first
    _links: int = 0

    def found(self) -> Found:
        left = _names(self.wanted)
        while left:
            name = left.pop()
            if name == "..":
                self._ascend()
                continue
            status = self._status(name)
            if stat.S_ISLNK(status.st_mode):
                left += self._followed(name)
            elif stat.S_ISDIR(status.st_mode):
                self.folders.append(os.open(name, FOLDER, dir_fd=self.folders[-1]))
                self.names.append(name)
            elif left:
                raise self._absent(f"{self._at(name)} is no folder")
            else:
                return Found(self.folders[-1], name, self._at(name), status)
        status = os.fstat(self.folders[-1])
        return Found(self.folders[-1], ".", "/".join(self.names) or ".", status)

    def _ascend(self) -> None:
        if self.names:
            self.names.pop()
            os.close(self.folders.pop())

    def _status(self, name: str) -> os.stat_result:
        try:
            status = os.stat(name, dir_fd=self.folders[-1], follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL):
                raise
            raise self._absent(f"there is no {self._at(name)}", self._alike(name)) from error
        if status.st_dev != self.device:  # the folder .zfs
            raise self._absent(f"there is no {self._at(name)}")
        return status

    def _followed(self, name: str) -> list[str]:
        """Return the names that a link leads to, in reverse."""
        self._links += 1
        if self._links > _MOST_LINKS:
            raise self._absent("its links lead in a circle")
        target = os.readlink(name, dir_fd=self.folders[-1])
        if target.startswith("/"):
            while self.names:
                self._ascend()
        return _names(target)

    def _at(self, name: str) -> str:
        return "/".join((*self.names, name))

    def _alike(self, name: str) -> str:
        """Ask whether a name was meant that is there, if one is much like it."""
        with os.scandir(self.folders[-1]) as entries:
            names = [entry.name for entry in islice(entries, _MOST_NAMES)]
        found = get_close_matches(name, names, 1)
        return "".join(f"did you mean {self._at(one)}? " for one in found)

    def _absent(self, why: str, guess: str = "") -> BackupError:
        asked = self.wanted.strip("/")
        about = "" if why.endswith(f" {asked}") else f"{asked}: "
        return BackupError("no_path", f"{about}{why}", guess + _LISTING)


def _names(path: str) -> list[str]:
    """Return the names in a path, in reverse."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
