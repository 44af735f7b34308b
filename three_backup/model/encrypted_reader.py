"""A file as it lies in S3, encrypted while it is read."""

from collections.abc import Iterator
from io import BufferedIOBase, RawIOBase
from typing import Any

from three_backup.model.encryption import OVERHEAD, PIECE, Cipher

_PIECES_AT_ONCE = 16


class EncryptedReader(RawIOBase):
    """A reader of a file as it lies in S3; it can seek if its source can."""

    def __init__(self, source: RawIOBase | BufferedIOBase, cipher: Cipher) -> None:
        """source: stands at its beginning."""
        self._source, self._cipher = source, cipher
        self._sealed, self._rest = self._pieces(0), memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._source.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence:
            raise ValueError("an offset counts from the beginning")
        number, within = divmod(offset, PIECE + OVERHEAD)
        self._source.seek(number * PIECE)
        self._sealed = self._pieces(number)
        self._rest = memoryview(next(self._sealed, b""))[within:]
        return offset

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._sealed, b""))
        with memoryview(buffer) as view:
            count = min(len(view), len(self._rest))
            view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _pieces(self, number: int) -> Iterator[bytes]:
        """Yield the sealed pieces from this number on, where the source stands.

        One block is read ahead, since that may tell that a piece is the last one.
        """
        block, ahead = (memoryview(bytearray(PIECE * _PIECES_AT_ONCE)) for _ in range(2))
        size = self._filled(block)
        while size:
            coming = self._filled(ahead) if size == len(block) else 0
            for start in range(0, size, PIECE):
                end = min(start + PIECE, size)
                last = not coming and end == size
                yield self._cipher.seal(block[start:end], number, last=last)
                number += 1
            block, ahead, size = ahead, block, coming

    def _filled(self, block: memoryview) -> int:
        size = 0
        while size < len(block) and (count := self._source.readinto(block[size:])):
            size += count
        return size
