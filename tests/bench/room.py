"""Sample how much room the files of folders take on the disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import sampling

_SAMPLED_SECONDS = 0.2  # to look at a thousand files takes some milliseconds


@dataclass(slots=True)
class Room:
    """What the files of some folders take: sparse ones what is allocated, links nothing more.

    A file without a name and a peak between two samples are missed.
    """

    folders: tuple[Path, ...]
    most: int = 0  # bytes, the peak so far

    def look(self) -> None:
        self.most = max(self.most, self.taken())

    def taken(self) -> int:
        """Return the bytes that are taken now."""
        files = {
            (found.st_dev, found.st_ino): found.st_blocks
            for folder in self.folders
            for found in _files(folder)
        }
        return 512 * sum(files.values())


@contextmanager
def room_taken(*folders: Path) -> Iterator[Room]:
    """Yield the room that the folders take, sampled while the block lasts."""
    room = Room(folders)
    with sampling(_SAMPLED_SECONDS, room.look):
        yield room
    room.look()


def _files(folder: Path | str) -> Iterator[os.stat_result]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False)
