"""One range of a file, put together out of what is whole in its copies."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from three_backup.errors import BackupError
from three_backup.model.checked_file import DamagedError
from three_backup.model.hashed_stream import HashedRange
from three_backup.s3.mended import Mended, called

ANOTHER = "restore another snapshot with --snapshot; tb-list --snapshots names them"
_HERE = "this host"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a file."""

    store: str | None  # the name of its store; None: this host
    read: Callable[[int, int], bytes]  # takes offset and length, raises BackupError

    @property
    def place(self) -> str:
        return _HERE if self.store is None else called(self.store)


class _Trouble(NamedTuple):
    """A copy that did not do, and why."""

    copy: Copy
    error: BackupError


class OneRange:
    """A range of a file that is read from one copy after another, until all of it is whole."""

    def __init__(
        self, what: str, offset: int, length: int, pieces: Sequence[HashedRange], mended: Mended
    ) -> None:
        """what: the file, in messages. pieces: what is known of the range; they lie within it."""
        self._what = what
        self._offset = offset
        self._length = length
        self._bad = pieces
        self._mended = mended
        self._body: bytes | bytearray | None = None
        self._troubles: list[_Trouble] = []

    def read(self, copy: Copy) -> bytes | bytearray | None:
        """Read from a copy what is not whole yet; return the range once all of it is."""
        try:
            taken = self._take(copy)
        except BackupError as error:
            self._troubles.append(_Trouble(copy, error))
            return None
        self._bad = [piece for piece in self._bad if not self._is_whole(piece)]
        if self._bad:
            self._troubles.append(_Trouble(copy, self._damaged(copy, self._bad[0])))
            return None
        if self._troubles and copy.store is not None:
            why = self._troubles[0].error.message
            self._mended.note(self._what, why, copy.store, taken)
        return self._body

    def failure(self) -> BackupError:
        """Return why no copy did: what the first one lacks, and why the others do not help."""
        (_, first), *others = self._troubles
        clauses = (f", and {copy.place} does not help ({error.message})" for copy, error in others)
        return type(first)(first.code, first.message + "".join(clauses), first.hint)

    def _take(self, copy: Copy) -> int:
        """Read what is wanted of a copy; return how many bytes that were."""
        if self._body is None:
            self._body = copy.read(self._offset, self._length)
            return self._length
        body = bytearray(self._body)
        for piece in self._bad:
            start = piece.offset - self._offset
            body[start : start + piece.size] = copy.read(piece.offset, piece.size)
        self._body = body
        return sum(piece.size for piece in self._bad)

    def _is_whole(self, piece: HashedRange) -> bool:
        start = piece.offset - self._offset
        body = memoryview(self._body or b"")[start : start + piece.size]
        return hashlib.sha256(body).hexdigest() == piece.sha256

    def _damaged(self, copy: Copy, piece: HashedRange) -> BackupError:
        where = f"on {_HERE}" if copy.store is None else f"in {copy.place}"
        end = piece.offset + piece.size
        return DamagedError(
            "snapshot.damaged",
            f"{self._what} is damaged {where} between byte {piece.offset} and {end}",
            ANOTHER,
        )
