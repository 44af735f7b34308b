"""The INCREMENTAL files of PostgreSQL 17 and later: the changed blocks of a relation's file.

Three numbers begin it: a magic number, how many blocks follow, and to how many blocks the file
was ever cut since the parent; then the numbers of the blocks, then the blocks themselves.
"""

import struct

from three_backup.errors import BackupError

PREFIX = "INCREMENTAL."
_MAGIC = 0xD3AE1F0D
_START = struct.Struct("<III")
_NUMBER = 4

START_SIZE = _START.size
"""How much of a header says how long it is, bytes."""


def header_size(start: bytes | bytearray) -> int:
    """How long the header is with the numbers of the blocks. start: 12 bytes at least.

    Raises BackupError where no INCREMENTAL file begins like this.
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
    """How long the file is when the increment was applied. header: whole."""
    _, count, truncated = _start(header)
    numbers = struct.unpack_from(f"<{count}I", header, _START.size)
    return max(truncated, max(numbers, default=-1) + 1)


def is_empty(header: bytes | bytearray) -> bool:
    """Whether no block has changed."""
    return header_size(header) == _START.size


def _start(header: bytes | bytearray) -> tuple[int, int, int]:
    magic, count, truncated = _START.unpack_from(header)
    return magic, count, truncated
