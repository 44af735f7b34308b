"""Read pieces of a file that is stored as numbered volumes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from three_backup.errors import BackupError
from three_backup.s3.client import THREADS
from three_backup.s3.store import Store
from three_backup.s3.volumes import volume_key

PIECE = 16 * 1024 * 1024
"""Bytes asked for by one request."""


def read_range(
    store: Store, key: str, volume_size: int, size: int, offset: int, length: int
) -> bytes:
    """Exactly length bytes of the file from offset on, a long range by several threads at once.

    volume_size, size: as the manifest has them. The content is not checked here: the caller knows
    the sha256 of what it asked for and compares before it uses a byte. Memory: twice length while
    several pieces are joined.
    """
    if offset < 0 or length < 0 or offset + length > size:
        raise BackupError(
            "s3.range",
            f"{store.place(key)}: bytes {offset} to {offset + length} reach beyond its {size}",
        )
    pieces = list(_pieces(key, volume_size, offset, length))
    if len(pieces) <= 1:
        return b"".join(_read(store, piece) for piece in pieces)
    with ThreadPoolExecutor(min(THREADS, len(pieces))) as pool:
        return b"".join(pool.map(lambda piece: _read(store, piece), pieces))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A range within one volume."""

    key: str
    offset: int
    length: int


def _pieces(key: str, volume_size: int, offset: int, length: int) -> Iterator[_Piece]:
    end = offset + length
    while offset < end:
        volume, within = divmod(offset, volume_size)
        taken = min(PIECE, volume_size - within, end - offset)
        yield _Piece(volume_key(key, volume + 1), within, taken)
        offset += taken


def _read(store: Store, piece: _Piece) -> bytes:
    return store.read_range(piece.key, piece.offset, piece.length)
