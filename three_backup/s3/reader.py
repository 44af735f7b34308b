"""Cut a stream into parts, reading one byte ahead to find its end."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedIOBase, RawIOBase

from three_backup.s3.seal import Check, Seal

Readable = RawIOBase | BufferedIOBase

Known = Callable[[int, int], bytes | None]
"""Takes offset and length of bytes that were read; returns their SHA-256, None if unknown."""


def nothing_known(_offset: int, _length: int) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stream."""

    body: bytearray  # valid until its buffer is reused
    size: int  # bytes
    last: bool  # the stream ends with this part
    known: bytes | None = None  # its SHA-256, if the source hashes what it gives

    def seal(self, check: Check) -> Seal:
        """Hash the body, which is most of the cost of sending; threads may do it in parallel."""
        return Seal(check, self.md5() if check is Check.MD5 else self.sha256())

    def md5(self) -> bytes:
        return hashlib.md5(self.body, usedforsecurity=False).digest()

    def sha256(self) -> bytes:
        return self.known or hashlib.sha256(self.body).digest()


class PartReader:
    """A reader of a stream, which must stand at its beginning."""

    def __init__(self, source: Readable, known: Known = nothing_known) -> None:
        self._source = source
        self._known = known
        self._ahead = b""
        self.offset = 0  # bytes of the parts read so far

    def fill(self, buffer: bytearray) -> Part:
        """Read the next part into buffer; if the last part is shorter, shorten the buffer."""
        size = len(self._ahead)
        with memoryview(buffer) as view:
            view[:size] = self._ahead
            while size < len(view) and (count := self._source.readinto(view[size:])):
                size += count
        full = size == len(buffer)
        del buffer[size:]
        known = self._known(self.offset, size)
        self.offset += size
        self._ahead = (self._source.read(1) or b"") if full else b""
        return Part(buffer, size, last=not self._ahead, known=known)

    def can_return(self) -> bool:
        return self._source.seekable()

    def return_to(self, offset: int) -> None:
        self._source.seek(offset)
        self._ahead = b""
        self.offset = offset
