"""A file that is read through gives its bytes, and an error in place of damaged ones."""

import hashlib
import io
from collections.abc import Sequence

import pytest

from three_backup.model.checked_file import DamagedError, Given, checked_file
from three_backup.model.hashed_stream import PIECE, Hashed, HashedPiece

BODY = bytes(range(256)) * (PIECE // 256) + b"the rest"


def pieces(body: bytes, sizes: Sequence[int]) -> list[HashedPiece]:
    found, offset = [], 0
    for size in sizes:
        digest = hashlib.sha256(body[offset : offset + size]).hexdigest()
        found.append(HashedPiece(size, digest))
        offset += size
    assert offset == len(body)
    return found


def read(body: bytes, hashes: Sequence[HashedPiece]) -> bytes:
    """Read a file of these bytes that is to have these hashes."""
    ranges = checked_file(hashes, lambda at, length: body[at : at + length], "core.pack")
    return io.BufferedReader(Given(ranges)).read()


@pytest.mark.parametrize(
    "sizes", [[len(BODY)], [1, PIECE - 2, 9], [PIECE, 8], [*[1 << 18] * (PIECE >> 18), 8]]
)
def test_pieces_of_any_size_are_compared(sizes: list[int]) -> None:
    hashes = pieces(BODY, sizes)
    assert read(BODY, hashes) == BODY
    for at in (0, PIECE // 2, len(BODY) - 1):
        damaged = bytearray(BODY)
        damaged[at] ^= 1
        with pytest.raises(DamagedError, match=r"core\.pack is damaged before byte \d+"):
            read(bytes(damaged), hashes)


def test_an_empty_file_has_no_bytes() -> None:
    assert read(b"", []) == b""
    assert read(b"", pieces(b"", [0])) == b""


def test_the_index_of_a_stream_names_its_pieces() -> None:
    hashed = Hashed(io.BufferedReader(io.BytesIO(BODY)))
    assert hashed.read() == BODY
    assert hashed.index().pieces == pieces(BODY, [PIECE, 8])
