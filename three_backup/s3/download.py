"""Read ranges of a file that is stored as numbered volumes."""

from collections.abc import Iterator
from dataclasses import dataclass

from three_backup.errors import BackupError
from three_backup.s3.client import THREADS
from three_backup.s3.store import Store
from three_backup.s3.volumes import volume_key

PIECE = 16 * 1024 * 1024
"""Bytes that one request asks for, at most."""


def read_range(
    store: Store,
    key: str,
    volume_size: int,
    size: int,
    offset: int,
    length: int,
    at_once: int = PIECE,
) -> bytes:
    """Return exactly length bytes of the file from offset on; several threads read a long range.

    volume_size, size: from the manifest. The content is not checked: the caller knows its sha256
    and compares it before using a byte. Memory: twice length while several pieces are joined.
    at_once: bytes that one request asks for, at most.
    Raises BackupError if the range reaches beyond size.
    """
    if offset < 0 or length < 0 or offset + length > size:
        raise BackupError(
            "s3.range",
            f"{store.place(key)}: bytes {offset} to {offset + length} reach beyond its {size}",
        )
    pieces = list(_pieces(key, volume_size, offset, length, at_once))
    if len(pieces) <= 1:
        return b"".join(_read(store, piece) for piece in pieces)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(THREADS, len(pieces))) as pool:
        return b"".join(pool.map(lambda piece: _read(store, piece), pieces))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A range within one volume."""

    key: str
    offset: int
    length: int


def _pieces(
    key: str, volume_size: int, offset: int, length: int, at_once: int
) -> Iterator[_Piece]:
    end = offset + length
    while offset < end:
        volume, within = divmod(offset, volume_size)
        taken = min(at_once, volume_size - within, end - offset)
        yield _Piece(volume_key(key, volume + 1), within, taken)
        offset += taken


def _read(store: Store, piece: _Piece) -> bytes:
    return store.read_range(piece.key, piece.offset, piece.length)
