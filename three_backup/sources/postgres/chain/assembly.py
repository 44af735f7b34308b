"""Write the files of a chain to disk as one data directory, each block once."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

import crc32c

from three_backup.sources.postgres.chain.lay_out import inside
from three_backup.sources.postgres.chain.layers import LayeredFile
from three_backup.sources.postgres.increment import most_header
from three_backup.sources.postgres.index import File, Form
from three_backup.sources.postgres.pack import Need

_READ_SIZE = 1 << 20


class Assembly:
    """The files below a directory that are being put together.

    What the links have of them comes by add(): first the frames that have headers of increments,
    those of the newest link first, then, in any order, what shows. The caller acts as the owner of
    the directory.
    """

    def __init__(self, directory: Path, newest: Iterable[File]) -> None:
        """newest: the files to make, as the newest link has them."""
        self._directory = directory
        self._files = {file.path: LayeredFile(file) for file in newest}
        self._made: set[str] = set()
        self._open: tuple[str, int] | None = None  # path and descriptor of the file written last

    def shows(self, need: Need) -> bool:
        """Tell whether newer links leave anything to read in a frame; all headers have come."""
        return any(
            self._files[part.file.path].shows(part.file, part.file_offset, part.length)
            for part in need.slices
        )

    def add(self, file: File, offset: int, piece: memoryview) -> None:
        """Write what shows of a piece of what is stored of the file.

        Raises BackupError if it is damaged, OSError if it cannot be written.
        """
        for start, part in self._files[file.path].add(file, offset, piece):
            _write(self._opened(file.path), part, start)

    def finish(self) -> None:
        """Make the files of which nothing was stored."""
        for path in self._files.keys() - self._made:
            self._opened(path)
        self.close()

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    @property
    def paths(self) -> Collection[str]:
        return self._files.keys()

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        return self._files[path].length

    def checksum(self, path: str) -> int:
        """Return the CRC-32C of a finished file, which is read again if several links gave it.

        Raises BackupError if it is not the one that the links tell.
        """
        layered = self._files[path]
        if layered.checksum is not None:
            return layered.checksum
        checksum = _read_checksum(inside(self._directory, path))
        layered.check(checksum)
        return checksum

    def _opened(self, path: str) -> int:
        """Return a descriptor of the file; a new one gets its length at once, without bytes."""
        if self._open is None or self._open[0] != path:
            self.close()
            is_new = path not in self._made
            flags = os.O_WRONLY | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if is_new else 0)
            self._open = path, os.open(inside(self._directory, path), flags, 0o600)
            if is_new:
                os.ftruncate(self._open[1], self._files[path].length)
                self._made.add(path)
        return self._open[1]


def has_header(need: Need) -> bool:
    """Tell whether a frame has bytes of the header of an increment."""
    return any(
        part.file.form is Form.BLOCKS and part.file_offset < most_header(part.file.size)
        for part in need.slices
    )


def _write(descriptor: int, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def _read_checksum(path: Path) -> int:
    checksum = 0
    room = memoryview(bytearray(_READ_SIZE))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while count := os.readv(descriptor, [room]):
            checksum = crc32c.crc32c(room[:count], checksum)
    finally:
        os.close(descriptor)
    return checksum
