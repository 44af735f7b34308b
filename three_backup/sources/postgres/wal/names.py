"""Names of WAL: positions, segments, timelines, and the pieces that the archive stores.

A position (LSN) is a number of bytes since the cluster was made. A segment is a file of the
server, a piece is a key of the archive. A piece never crosses a border of segments, nor one of
`LARGEST_PIECE` bytes. A partial piece may be followed by one that repeats and exceeds it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

LARGEST_PIECE = 16 << 20
"""Bytes of WAL in a piece, at most."""

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})", re.ASCII)
_HISTORY = re.compile(r"([0-9A-F]{8})\.history", re.ASCII)
_PIECE = re.compile(r"([0-9A-F]{8})/([0-9A-F]{16})-([0-9A-F]{16})\.zst", re.ASCII)
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", re.ASCII)
_DIGITS_OF_LSN = 16


def position(lsn: str) -> int:
    """Return an LSN such as `0/16C3B28` as a number of bytes. Raises ValueError."""
    found = _LSN.fullmatch(lsn)
    if found is None:
        raise ValueError(f"{lsn!r} is not a position; write it as the server does: 0/16C3B28")
    return int(found[1], 16) << 32 | int(found[2], 16)


def lsn(position: int) -> str:
    """Return the position as the server writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


class Segment(NamedTuple):
    """A file of WAL at the server."""

    timeline: int
    start: int  # position of its first byte

    def name(self, size: int) -> str:
        """Return the name of the file. size: of all segments of the cluster, in bytes."""
        high, low = divmod(self.start // size, (1 << 32) // size)
        return f"{self.timeline:08X}{high:08X}{low:08X}"

    @classmethod
    def parse(cls, name: str, size: int) -> "Segment | None":
        """Return the segment of this name; None if it is none, as `….partial` and `….backup`."""
        found = _SEGMENT.fullmatch(name)
        if found is None:
            return None
        timeline, high, low = (int(digits, 16) for digits in found.groups())
        if timeline == 0 or low >= (1 << 32) // size:
            return None
        return cls(timeline, (high << 32) + low * size)


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """A piece of WAL in the archive."""

    timeline: int
    start: int  # position of its first byte
    end: int  # position after its last byte
    stored: int = field(default=0, compare=False)  # bytes in S3
    at: datetime | None = field(default=None, compare=False)  # when it was stored

    @property
    def key(self) -> str:
        """Return its key, relative to the folder of the cluster's archive."""
        return f"{self.timeline:08X}/{self.start:016X}-{self.end:016X}.zst"

    @property
    def size(self) -> int:
        """Return its bytes of WAL."""
        return self.end - self.start

    @classmethod
    def parse(cls, key: str, stored: int = 0, at: datetime | None = None) -> "Piece | None":
        """Return the piece with this key; None if the key is no piece's."""
        found = _PIECE.fullmatch(key)
        if found is None:
            return None
        timeline, start, end = (int(digits, 16) for digits in found.groups())
        if timeline == 0 or not start < end <= _border_after(start, LARGEST_PIECE):
            return None
        return cls(timeline, start, end, stored, at)


def history_name(timeline: int) -> str:
    """Return the name of the file that tells where the timeline comes from."""
    return f"{timeline:08X}.history"


def timeline_of_history(name: str) -> int | None:
    """Return the timeline that a history file is of; None if the name is none of such a file."""
    found = _HISTORY.fullmatch(name)
    return None if found is None else int(found[1], 16)


def cut(start: int, end: int, segment_size: int) -> Iterator[tuple[int, int]]:
    """Cut the WAL from start to end where pieces have to be cut; yield start and end of each."""
    unit = min(segment_size, LARGEST_PIECE)
    while start < end:
        border = min(_border_after(start, unit), end)
        yield start, border
        start = border


def common_prefix(start: int, end: int) -> str:
    """Return what the keys of all pieces from start to before end begin with, timeline aside."""
    first, last = f"{start:016X}", f"{end - 1:016X}"
    length = next((n for n in range(_DIGITS_OF_LSN) if first[n] != last[n]), _DIGITS_OF_LSN)
    return first[:length]


def _border_after(start: int, unit: int) -> int:
    return (start // unit + 1) * unit
