"""Cut a stream into parts, reading one byte ahead to find its end."""

import hashlib
from dataclasses import dataclass
from io import BufferedIOBase, RawIOBase

Readable = RawIOBase | BufferedIOBase


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stream."""

    body: bytearray  # valid until its buffer is reused
    size: int  # bytes
    last: bool  # the stream ends with this part

    def md5(self) -> bytes:
        """Hash the body, which is most of the cost of sending; threads may do it in parallel."""
        return hashlib.md5(self.body, usedforsecurity=False).digest()


class PartReader:
    """A reader of a stream, which must stand at its beginning."""

    def __init__(self, source: Readable) -> None:
        self._source = source
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
        self.offset += size
        self._ahead = (self._source.read(1) or b"") if full else b""
        return Part(buffer, size, last=not self._ahead)

    def can_return(self) -> bool:
        return self._source.seekable()

    def return_to(self, offset: int) -> None:
        self._source.seek(offset)
        self._ahead = b""
        self.offset = offset
