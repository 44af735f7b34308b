"""Send and fetch a file in volumes of two parts; make streams that break off, and pipes."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from three_backup.s3.download import read_range
from three_backup.s3.reader import Readable
from three_backup.s3.store import Store
from three_backup.s3.upload import Uploaded, upload

PART = 5 * 1024 * 1024
"""Bytes of the smallest part that servers accept, except for the last part."""

PARTS = 2
KEY = "data/file"


class BrokenOff(io.BytesIO):
    """A file that cannot be read beyond a certain point, as on a broken disk."""

    def __init__(self, content: bytes, readable: int) -> None:
        super().__init__(content)
        self._readable = readable

    def read(self, size: int | None = -1, /) -> bytes:
        self._left()
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        return super().readinto(memoryview(buffer)[: self._left()])

    def _left(self) -> int:
        if self.tell() >= self._readable:
            raise OSError("broken off")
        return self._readable - self.tell()


@contextmanager
def pipe_of(content: bytes) -> Iterator[io.BufferedReader]:
    """Yield the reading end of a pipe that the content is written to."""
    reading, writing = os.pipe()
    writer = threading.Thread(target=_write, args=(writing, content))
    writer.start()
    try:
        with os.fdopen(reading, "rb") as source:
            yield source
    finally:
        writer.join()


def send(store: Store, source: Readable, journal: Path, size: int | None = None) -> Uploaded:
    return upload(store, KEY, source, size, journal, _ignore, part_size=PART, parts=PARTS)


def fetch(store: Store, uploaded: Uploaded) -> bytes:
    return read_range(store, KEY, uploaded.volume_size, uploaded.size, 0, uploaded.size)


def _ignore(count: int) -> None:
    pass


def _write(descriptor: int, content: bytes) -> None:
    try:
        with os.fdopen(descriptor, "wb") as end:
            end.write(content)
    except BrokenPipeError:
        pass  # the reader stopped early
