"""Cut a stream into parts, looking one byte ahead for its end."""

import hashlib
from dataclasses import dataclass
from io import BufferedIOBase, RawIOBase

Readable = RawIOBase | BufferedIOBase


@dataclass(frozen=True, slots=True)
class Part:
    """body: its bytes, as long as nobody else is given the buffer; size: of them; last: the stream
    ends with this part."""

    body: bytearray
    size: int
    last: bool

    def md5(self) -> bytes:
        """Most of what sending costs: several threads may do it at the same time."""
        return hashlib.md5(self.body, usedforsecurity=False).digest()


class PartReader:
    """Reads a stream that stands at its beginning. offset: bytes of the parts read so far."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ahead = b""
        self.offset = 0

    def fill(self, buffer: bytearray) -> Part:
        """Read the next part into buffer; a shorter part, the last one, shortens the buffer."""
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
