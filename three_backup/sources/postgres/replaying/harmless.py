"""Finds the WAL records that need care in a replay: they name folders, and not pages.

CREATE TABLESPACE names an absolute folder: redo would link to it and write old pages into files of
a running server. With an empty name in its place redo makes a folder inside of the data directory.
The record keeps its length, so that no position changes. CREATE DATABASE may copy the folder of
another database, of which a restore may have laid out only a part.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from crc32c import crc32c

# Record type, resource manager and padding, which no border of pages divides: from byte 16 on.
_CREATE_TABLESPACE = b"\0\5\0\0"
_COPY_DATABASE = b"\1\4\0\0"  # the lowest bit: it changes relations that it does not name
_DROP_DATABASE = b"\x21\4\0\0"
_AT = 16
_HEADER, _CRC_AT, _XID_AT = 24, 20, 4
_SHORT = 0xFF  # the block of a record's main data, of at most 255 bytes
_DATA_AT = _HEADER + 2  # after the kind and the length of that block
_PATH_AT = _DATA_AT + 4  # after the tablespace's oid
_COPY = struct.Struct("<IIII")  # the database, its tablespace, the one that is copied, and its
_LONGEST = 4096
_PAGE_HEADER, _SEGMENT_HEADER = 24, 40
_BLOCK_SIZE = struct.Struct("<I")
_BLOCK_SIZE_AT = 36


class _Span(NamedTuple):
    """A part of a record that lies on one page."""

    buffer: bytearray
    at: int
    size: int


class _Record(NamedTuple):
    """A record, and where it lies."""

    content: bytearray
    spans: Sequence[_Span]

    def store(self) -> None:
        """Write the content back, with a checksum that fits."""
        struct.pack_into("<I", self.content, _CRC_AT, _checksum(self.content))
        done = 0
        for span in self.spans:
            span.buffer[span.at : span.at + span.size] = self.content[done : done + span.size]
            done += span.size


def defuse(segment: bytearray, following: bytearray | None) -> list[str]:
    """Change the records that begin in the segment and name folders; return these folders.

    following: the next segment, into which the last record may reach; None where there is none.
    """
    named = []
    for record in _records(segment, following, _CREATE_TABLESPACE):
        if record.content[_PATH_AT] == ord("/"):
            path = bytes(record.content[_PATH_AT:]).partition(b"\0")[0]
            named.append(path.decode("utf-8", "replace"))
            record.content[_PATH_AT] = 0
            record.store()
    return named


def copied_databases(segment: bytearray, following: bytearray | None) -> Iterator[tuple[int, int]]:
    """Yield the oid of each database whose files are copied, and that of its template."""
    for record in _records(segment, following, _COPY_DATABASE):
        if len(record.content) == _DATA_AT + _COPY.size:
            database, _, template, _ = _COPY.unpack_from(record.content, _DATA_AT)
            yield database, template


def dropped_databases(
    segment: bytearray, following: bytearray | None
) -> Iterator[tuple[int, int]]:
    """Yield the transaction of each DROP DATABASE, and where in the segment it removes files.

    It does so before it commits.
    """
    for record in _records(segment, following, _DROP_DATABASE):
        (xid,) = struct.unpack_from("<I", record.content, _XID_AT)
        yield xid, record.spans[0].at


def _records(segment: bytearray, following: bytearray | None, kind: bytes) -> Iterator[_Record]:
    """Yield the records of a kind that begin in the segment."""
    (page,) = _BLOCK_SIZE.unpack_from(segment, _BLOCK_SIZE_AT)
    at = segment.find(kind)
    while at >= 0:
        record = _record(segment, following, at, page) if at % 8 == 0 else None
        if record is not None:
            yield record
        at = segment.find(kind, at + 1)


def _record(
    segment: bytearray, following: bytearray | None, kind_at: int, page: int
) -> _Record | None:
    """Return the record whose kind stands there; None if these bytes mean something else."""
    start = _start(kind_at, page)
    if start is None:
        return None
    (total,) = struct.unpack_from("<I", segment, start)
    if not _PATH_AT < total <= _LONGEST:
        return None
    spans = list(_spans(segment, following, start, total, page))
    content = bytearray().join(span.buffer[span.at : span.at + span.size] for span in spans)
    of_data = bytes((_SHORT, (total - _DATA_AT) & 0xFF))
    if len(content) < total or content[_HEADER:_DATA_AT] != of_data:
        return None
    (checksum,) = struct.unpack_from("<I", content, _CRC_AT)
    return _Record(content, spans) if checksum == _checksum(content) else None


def _checksum(record: bytearray) -> int:
    """Return the CRC of a record: of its data, then of its header as far as the CRC itself."""
    return int(crc32c(bytes(record[:_CRC_AT]), crc32c(bytes(record[_HEADER:]))))


def _start(kind_at: int, page: int) -> int | None:
    """Return where the record begins; None if that is in the segment before."""
    header = _header(kind_at - kind_at % page)
    before = kind_at % page - header  # bytes of the record's header on the same page, at most
    if before >= _AT:
        return kind_at - _AT
    start = kind_at - kind_at % page - (_AT - before)
    return start if before >= 0 and start >= 0 else None


def _spans(
    segment: bytearray, following: bytearray | None, start: int, total: int, page: int
) -> Iterator[_Span]:
    buffer, at, left = segment, start, total
    while left:
        size = min(left, page - at % page)
        yield _Span(buffer, at, size)
        left, at = left - size, at + size
        if at == len(buffer):
            if buffer is following or following is None:
                return
            buffer, at = following, 0
        at += _header(at)


def _header(page_start: int) -> int:
    return _PAGE_HEADER if page_start else _SEGMENT_HEADER
