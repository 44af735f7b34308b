"""Read the tar archives of BASE_BACKUP while they stream in.

PostgreSQL writes ustar headers with names of at most 99 bytes, and sizes in base 256 if octal is
too short. Anything else is refused rather than guessed.
"""

import os
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from three_backup.errors import BackupError

BLOCK = 512
_END = bytes(BLOCK)
_CHECKSUM = slice(148, 156)


class MemberType(Enum):
    FILE = b"0"
    LINK = b"2"
    DIRECTORY = b"5"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive."""

    name: str  # without `./` before it and a slash after it
    type: MemberType
    size: int  # bytes; 0 unless it is a file


class Members(Protocol):
    """A receiver of what is in an archive, member by member."""

    def begin(self, member: Member) -> None: ...

    def content(self, piece: memoryview) -> None:
        """Take the next bytes of the file that began last. piece stays valid."""

    def end(self) -> None:
        """End the member that began last: all its bytes were given."""


class TarStream:
    """A parser of one archive, fed in pieces of any size. prefix: put before every name."""

    def __init__(self, members: Members, prefix: str = "") -> None:
        self._members = members
        self._prefix = prefix
        self._header = bytearray()
        self._left = 0
        self._padding = 0

    def feed(self, piece: memoryview) -> None:
        position, size = 0, len(piece)
        while position < size:
            if self._left:
                length = min(self._left, size - position)
                self._members.content(piece[position : position + length])
                self._left -= length
                if not self._left:
                    self._members.end()
            elif self._padding:
                length = min(self._padding, size - position)
                self._padding -= length
            else:
                length = min(BLOCK - len(self._header), size - position)
                self._header += piece[position : position + length]
                if len(self._header) == BLOCK:
                    self._begin()
            position += length

    def close(self) -> None:
        """End the archive. Raises BackupError if it stopped inside a member."""
        if self._left or self._padding or self._header:
            raise _malformed("it stops in the middle of a file")

    def _begin(self) -> None:
        header, self._header = bytes(self._header), bytearray()
        if header == _END:
            return
        member = parse_header(header, self._prefix)
        self._left = member.size
        self._padding = -member.size % BLOCK
        self._members.begin(member)
        if not member.size:
            self._members.end()


def parse_header(header: bytes, prefix: str = "") -> Member:
    """Parse a header of 512 bytes. Raises BackupError if PostgreSQL would not write it."""
    summed = bytearray(header)
    summed[_CHECKSUM] = b" " * 8
    if _number(header[_CHECKSUM]) != sum(summed):
        raise _malformed("the checksum of a header is wrong")
    try:
        member_type = MemberType(header[156:157].replace(b"\0", b"0"))
        name = "/".join(filter(None, (_text(header[345:500]), _text(header[:100]))))
    except ValueError as error:
        raise _malformed(f"a header cannot be read: {error}") from error
    size = _number(header[124:136]) if member_type is MemberType.FILE else 0
    return Member(prefix + name.removeprefix("./").rstrip("/"), member_type, size)


def _number(field: bytes) -> int:
    """Parse octal digits, or base 256 if the first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError as error:
        raise _malformed(f"{field!r} is not a number") from error


def _text(field: bytes) -> str:
    return os.fsdecode(field.partition(b"\0")[0])


def _malformed(reason: str) -> BackupError:
    return BackupError(
        "postgres.tar",
        f"PostgreSQL: the stream of the backup is malformed ({reason})",
        "take the snapshot again; if it happens again, report the version of the server",
    )
