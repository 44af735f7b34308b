"""A stream of unknown length with a sha256 per piece; no piece is used unchecked."""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedIOBase, RawIOBase
from typing import Any, NamedTuple

from three_backup.errors import BackupError

STREAM = "stream"
"""Name of the data file of a snapshot that is one stream; a snapshot of more has others too."""

PIECE = 16 * 1024 * 1024
_VERSION = 1
_MALFORMED = (ValueError, KeyError, TypeError, RecursionError)

ReadRange = Callable[[int, int], bytes]
"""Takes offset and length; returns exactly these bytes of the stream."""


def index_of(stream: str) -> str:
    """Return the name of the file beside a stream that holds its hashes."""
    return f"{stream}.index"


class HashedPiece(NamedTuple):
    """A piece of a file."""

    size: int  # bytes
    sha256: str  # in hex


class HashedRange(NamedTuple):
    """A range of a file."""

    offset: int
    size: int  # bytes
    sha256: str  # in hex


@dataclass(frozen=True, slots=True)
class StreamIndex:
    """The hashes of the pieces of a stream."""

    size: int  # bytes of the stream
    piece: int  # bytes of each piece but the last
    sha256: tuple[str, ...]  # of each piece, in hex

    @property
    def pieces(self) -> list[HashedPiece]:
        ends = range(0, self.size, self.piece)
        sizes = (min(self.piece, self.size - offset) for offset in ends)
        return list(map(HashedPiece, sizes, self.sha256))

    def piece_at(self, offset: int) -> HashedRange:
        """Return the piece that begins there."""
        size = min(self.piece, self.size - offset)
        return HashedRange(offset, size, self.sha256[offset // self.piece])

    def to_json(self) -> bytes:
        fields = {"v": _VERSION, "size": self.size, "piece": self.piece, "sha256": self.sha256}
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_json(cls, body: bytes, where: str) -> "StreamIndex":
        """Parse an index. Raises BackupError, naming where, if body is not of this version."""
        try:
            fields = json.loads(body)
            index = cls(int(fields["size"]), int(fields["piece"]), tuple(fields["sha256"]))
            if fields["v"] != _VERSION or not 0 < index.piece <= PIECE:
                raise ValueError("it is of another version")
            if len(index.sha256) != -(-index.size // index.piece):
                raise ValueError("its numbers do not agree")
        except _MALFORMED as error:
            raise BackupError(
                "snapshot.index",
                f"{where}: this is not an index of a stream ({type(error).__name__}: {error})",
                "restore another snapshot with --snapshot; tb-list --snapshots names them",
            ) from error
        return index


class Hashed(RawIOBase):
    """A reader that passes a stream on and hashes its pieces. It cannot seek."""

    def __init__(self, source: BufferedIOBase, piece: int = PIECE) -> None:
        self._source = source
        self._piece = piece
        self._size = 0
        self._digests: list[str] = []
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer) as view:
            room = view[: self._piece - self._size % self._piece]
            count = self._source.readinto(room) or 0
            self._digest.update(room[:count])
        self._size += count
        if count and self._size % self._piece == 0:
            self._close_piece()
        return count

    def sha256(self, offset: int, length: int) -> bytes | None:
        """Return the SHA-256 of bytes that were read; None unless they are one piece.

        A last, shorter piece counts until more is read.
        """
        number, beside = divmod(offset, self._piece)
        if beside == 0 and length == self._piece and number < len(self._digests):
            return bytes.fromhex(self._digests[number])
        is_last = number == len(self._digests) and offset + length == self._size
        return self._digest.digest() if beside == 0 and is_last else None

    def index(self) -> StreamIndex:
        """Return the index. Call it after the whole stream was read."""
        if self._size % self._piece:
            self._close_piece()
        return StreamIndex(self._size, self._piece, tuple(self._digests))

    def _close_piece(self) -> None:
        self._digests.append(self._digest.hexdigest())
        self._digest = hashlib.sha256()


def read_ahead(size: int, piece: int, read_range: ReadRange) -> Iterator[bytes]:
    """Yield the pieces of so many bytes in order; read the next while the caller uses this one."""
    coming: Future[bytes] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        for offset in range(0, size, piece):
            length = min(piece, size - offset)
            before, coming = coming, pool.submit(read_range, offset, length)
            if before is not None:
                yield before.result()
        if coming is not None:
            yield coming.result()
