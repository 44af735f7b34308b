"""A range is given out only once each of its pieces has its hash, whichever copy gave it."""

from collections.abc import Sequence
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.catalog.one_range import Copy, OneRange
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.hashed_stream import Hashed, HashedRange
from three_backup.s3.mended import Mended

_BODY, _PIECE = bytes(range(50)), 10


def pieces() -> list[HashedRange]:
    hashed = Hashed(BytesIO(_BODY), _PIECE)
    hashed.readall()
    index = hashed.index()
    return [index.piece_at(offset) for offset in range(0, len(_BODY), _PIECE)]


def copy(store: str | None, *damaged: int, short: bool = False) -> Copy:
    body = bytearray(_BODY)
    for at in damaged:
        body[at] ^= 1

    def read(offset: int, length: int) -> bytes:
        if short:
            raise BackupError("s3.range", "the volume is too short", "restore an older one")
        return bytes(body[offset : offset + length])

    return Copy(store, read)


def read(copies: Sequence[Copy], mended: Mended, within: slice = slice(5)) -> bytes:
    wanted = pieces()[within]
    start, end = wanted[0].offset, wanted[-1].offset + wanted[-1].size
    one = OneRange("web: stream", start, end - start, wanted, mended)
    for each in copies:
        if (body := one.read(each)) is not None:
            return bytes(body)
    raise one.failure()


@given(st.sets(st.integers(0, 49), min_size=1), st.sets(st.integers(0, 49)))
def test_pieces_come_from_whichever_copy_has_them_whole(first: set[int], other: set[int]) -> None:
    mended = Mended()
    spoilt = {at // _PIECE for at in first}
    if spoilt & {at // _PIECE for at in other}:
        with pytest.raises(BackupError, match=r"web: stream is damaged in S3 between byte \d+"):
            read([copy("s3", *first), copy("vault", *other)], mended)
        return
    assert read([copy("s3", *first), copy("vault", *other)], mended) == _BODY
    assert mended.bytes == {"vault": len(spoilt) * _PIECE}


def test_this_host_s_copy_is_mended_from_s3_and_that_from_the_further_store() -> None:
    said: list[str] = []
    mended = Mended(said.append)
    copies = [copy(None, 12), copy("s3", 12, 30), copy("vault", 45)]
    for _ in range(2):
        assert read(copies, mended, slice(1, 4)) == _BODY[10:40]
    assert mended.bytes == {"vault": 20}
    since = mended.counted()
    (sentence,) = said
    assert sentence == (
        "web: stream is damaged on this host between byte 10 and 20; what is wanted of it comes "
        "from store vault"
    )
    assert read([copy(None, 3), copy("s3")], mended) == _BODY
    assert (since(), since()) == ({"mended": {"s3": 10}}, {})


def test_what_cannot_be_read_comes_whole_from_the_next_copy() -> None:
    mended = Mended()
    assert read([copy("s3", short=True), copy("vault")], mended) == _BODY
    assert mended.bytes == {"vault": 50}


def test_the_first_failure_is_told_with_why_no_other_copy_helps() -> None:
    def away(offset: int, length: int) -> bytes:
        raise UnreachableError("s3.unreachable", "vault: no connection", "see s3_endpoint")

    with pytest.raises(BackupError) as raised:
        read([copy("s3", short=True), Copy("vault", away)], Mended())
    assert str(raised.value) == (
        "the volume is too short, and store vault does not help (vault: no connection); restore "
        "an older one"
    )
