"""Cut a stream into parts, with their MD5s, looking one byte ahead for its end."""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """size: bytes; md5: of them; last: the stream ends with this part."""

    size: int
    md5: bytes
    last: bool


class PartReader:
    """Reads a stream that stands at its beginning. offset: bytes of the parts read so far."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._ahead = b""
        self.offset = 0

    def fill(self, buffer: bytearray) -> Part:
        """Read the next part into buffer; a shorter part, the last one, shortens the buffer."""
        size, digest = 0, hashlib.md5(usedforsecurity=False)
        with memoryview(buffer) as view:
            while size < len(view) and (chunk := self._next(len(view) - size)):
                view[size : size + len(chunk)] = chunk
                digest.update(chunk)
                size += len(chunk)
        full = size == len(buffer)
        del buffer[size:]
        self.offset += size
        self._ahead = self._source.read(1) if full else b""
        return Part(size, digest.digest(), last=not self._ahead)

    def can_return(self) -> bool:
        return self._source.seekable()

    def return_to(self, offset: int) -> None:
        self._source.seek(offset)
        self._ahead = b""
        self.offset = offset

    def _next(self, wanted: int) -> bytes:
        if self._ahead:
            chunk, self._ahead = self._ahead, b""
            return chunk
        return self._source.read(min(wanted, _CHUNK))
