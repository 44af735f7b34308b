"""A stream gives out only bytes whose piece has been checked."""

import hashlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import Hashed, HashedRange, StreamIndex


def indexed(body: bytes, piece: int) -> StreamIndex:
    hashed = Hashed(BytesIO(body), piece)
    assert hashed.readall() == body
    return hashed.index()


def covered(index: StreamIndex) -> list[HashedRange]:
    return [index.piece_at(offset) for offset in range(0, index.size, index.piece)]


@given(st.binary(max_size=100), st.integers(1, 40), st.lists(st.integers(1, 50)))
def test_pieces_are_those_of_the_stream_however_it_was_read(
    body: bytes, piece: int, reads: list[int]
) -> None:
    hashed = Hashed(BytesIO(body), piece)
    for count in reads:
        hashed.read(count)
    hashed.readall()
    index = StreamIndex.from_json(hashed.index().to_json(), "web")
    cut = [body[start : start + piece] for start in range(0, len(body), piece)]
    assert index.sha256 == tuple(hashlib.sha256(chunk).hexdigest() for chunk in cut)
    assert [(one.size, one.sha256) for one in covered(index)] == index.pieces
    assert b"".join(body[one.offset :][: one.size] for one in covered(index)) == body


@given(
    st.binary(max_size=40), st.integers(1, 20), st.lists(st.integers(1, 20)), st.integers(0, 45)
)
def test_a_hash_that_is_told_is_that_of_the_bytes_and_no_piece_lacks_its_own(
    body: bytes, piece: int, reads: list[int], length: int
) -> None:
    hashed = Hashed(BytesIO(body), piece)
    given_out = b"".join(hashed.read(count) or b"" for count in reads)
    for offset in range(len(given_out) + 1):
        told = hashed.sha256(offset, length)
        assert told in (None, hashlib.sha256(given_out[offset:][:length]).digest())
        assert told is None or offset + length <= len(given_out)
    for offset in range(0, len(given_out), piece):
        assert hashed.sha256(offset, len(given_out[offset:][:piece])) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"v":2,"size":1,"piece":1,"sha256":["a"]}',
        b'{"v":1,"size":3,"piece":1,"sha256":["a"]}',
        b'{"v":1,"size":1,"piece":0,"sha256":["a"]}',
        b'{"v":1,"size":1,"piece":1099511627776,"sha256":["a"]}',
    ],
)
def test_what_is_not_an_index_is_refused(body: bytes) -> None:
    with pytest.raises(BackupError, match="this is not an index of a stream"):
        StreamIndex.from_json(body, "web")
