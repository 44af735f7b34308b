"""Read the headers of INCREMENTAL files (PostgreSQL 17 and later): changed blocks of a file.

Such a file begins with three numbers: a magic number, the count of blocks that follow, and the
least length of the rebuilt file in blocks, which says how far it was cut since the parent. Then
come the numbers of the blocks, then the blocks.
"""

import struct
from typing import NamedTuple

from three_backup.errors import BackupError

PREFIX = "INCREMENTAL."
BLOCK_SIZE = 8192
"""Bytes of a block, in the server and in its INCREMENTAL files."""

_MAGIC = 0xD3AE1F0D
_START = struct.Struct("<III")
_NUMBER = 4

START_SIZE = _START.size
"""The bytes of a header that tell its whole length."""


def header_size(start: bytes | bytearray) -> int:
    """Return the header's bytes, the numbers of the blocks included. start: 12 bytes at least.

    Raises BackupError if no INCREMENTAL file begins like this.
    """
    magic, count, _ = _start(start)
    if magic != _MAGIC:
        raise BackupError(
            "postgres.increment",
            "PostgreSQL: an incremental file does not begin as one of PostgreSQL 17 does",
            "report the version of the server",
        )
    return _START.size + _NUMBER * count


def length_in_blocks(header: bytes | bytearray) -> int:
    """Return the rebuilt file's length in blocks. header: the whole header."""
    _, count, truncated = _start(header)
    numbers = struct.unpack_from(f"<{count}I", header, _START.size)
    return max(truncated, max(numbers, default=-1) + 1)


def is_empty(header: bytes | bytearray) -> bool:
    """Tell whether no block has changed."""
    return header_size(header) == _START.size


def most_header(size: int) -> int:
    """Return the bytes within which the header of an INCREMENTAL file of size bytes ends."""
    return START_SIZE + _NUMBER * (size // BLOCK_SIZE)


class Header(NamedTuple):
    """The header of an INCREMENTAL file."""

    size: int  # bytes until the first block, padding included
    numbers: tuple[int, ...]  # of the blocks that follow, in their order
    least: int  # length in blocks up to which older links may give blocks


def read_header(start: bytes | bytearray, size: int) -> Header | None:
    """Read the header of an INCREMENTAL file of size bytes; None if start does not hold all of it.

    Raises ValueError if no such file has it.
    """
    if len(start) < START_SIZE:
        return None
    magic, count, least = _start(start)
    numbers_end = START_SIZE + _NUMBER * count
    header = size - count * BLOCK_SIZE
    # Before the blocks the header is padded to a whole block.
    if magic != _MAGIC or not numbers_end <= header < numbers_end + BLOCK_SIZE:
        raise ValueError("it does not begin as an incremental file of its size does")
    if len(start) < numbers_end:
        return None
    return Header(header, struct.unpack_from(f"<{count}I", start, START_SIZE), least)


def _start(header: bytes | bytearray) -> tuple[int, int, int]:
    magic, count, truncated = _START.unpack_from(header)
    return magic, count, truncated
