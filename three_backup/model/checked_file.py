"""A file of a snapshot that is read from its beginning to its end, each byte checked by a hash."""

import hashlib
from collections.abc import Iterator, Sequence
from io import RawIOBase
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import PIECE, HashedPiece, ReadRange, read_ahead


class DamagedError(BackupError):
    """Bytes that are not those that their hash was made of."""


def checked_file(
    pieces: Sequence[HashedPiece], read_range: ReadRange, where: str
) -> Iterator[bytes]:
    """Yield the bytes of the pieces, which follow one another and make up the file.

    Raises DamagedError in place of the bytes with which a damaged piece ends. where: names the
    file in the error.
    """
    checker = _Checker(pieces, where)
    for body in read_ahead(sum(piece.size for piece in pieces), PIECE, read_range):
        checker.check(body)
        yield body


class Given(RawIOBase):
    """A reader of bytes that somebody yields. It cannot seek."""

    def __init__(self, bodies: Iterator[bytes]) -> None:
        self._bodies = bodies
        self._body = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._body:
            body = next(self._bodies, None)
            if body is None:
                return 0
            self._body = memoryview(body)
        with memoryview(buffer) as view:
            count = min(len(view), len(self._body))
            view[:count] = self._body[:count]
        self._body = self._body[count:]
        return count


class _Checker:
    """Compares the hashes of pieces, however the bytes come in."""

    def __init__(self, pieces: Sequence[HashedPiece], where: str) -> None:
        self._pieces = iter(pieces)
        self._where = where
        self._offset = 0
        self._begin()

    def check(self, body: bytes) -> None:
        rest = memoryview(body)
        while rest:
            taken = rest[: self._left]
            self._digest.update(taken)
            self._left -= len(taken)
            self._offset += len(taken)
            rest = rest[len(taken) :]
            if not self._left:
                self._compare()
                self._begin()

    def _begin(self) -> None:
        self._digest = hashlib.sha256()
        self._piece = next(self._pieces, HashedPiece(0, ""))
        self._left = self._piece.size

    def _compare(self) -> None:
        if self._digest.hexdigest() != self._piece.sha256:
            raise DamagedError(
                "snapshot.damaged",
                f"{self._where} is damaged before byte {self._offset}",
                "restore another snapshot with --snapshot; tb-list --snapshots names them",
            )
