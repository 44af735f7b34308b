"""Changes the WAL records that would write outside of the data directory on replay.

CREATE TABLESPACE names an absolute folder: redo would link to it and write old pages into files of
a running server. With an empty name in its place redo makes a folder inside of the data directory.
The record keeps its length, so that no position changes.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from crc32c import crc32c

_CREATE_TABLESPACE = b"\0\5\0\0"
"""Record type, resource manager and padding, which no border of pages divides: from byte 16 on."""
_AT = 16
_HEADER, _CRC_AT = 24, 20
_SHORT = 0xFF  # the block of a record's main data, of at most 255 bytes
_LONGEST = 4096
_PATH_AT = _HEADER + 2 + 4  # after the block's kind and length and the tablespace's oid
_PAGE_HEADER, _SEGMENT_HEADER = 24, 40
_BLOCK_SIZE = struct.Struct("<I")
_BLOCK_SIZE_AT = 36


class _Span(NamedTuple):
    """A part of a record that lies on one page."""

    buffer: bytearray
    at: int
    size: int


def defuse(segment: bytearray, following: bytearray | None) -> list[str]:
    """Change the records that begin in the segment; return the folders that they named.

    following: the next segment, into which the last record may reach; None where there is none.
    """
    (page,) = _BLOCK_SIZE.unpack_from(segment, _BLOCK_SIZE_AT)
    named = []
    at = segment.find(_CREATE_TABLESPACE)
    while at >= 0:
        if at % 8 == 0:
            path = _defused(segment, following, at, page)
            if path is not None:
                named.append(path)
        at = segment.find(_CREATE_TABLESPACE, at + 1)
    return named


def _defused(
    segment: bytearray, following: bytearray | None, type_at: int, page: int
) -> str | None:
    """Change the record whose type stands there; None if it is none that names a folder."""
    start = _start(type_at, page)
    if start is None:
        return None
    (total,) = struct.unpack_from("<I", segment, start)
    if not _PATH_AT < total <= _LONGEST:
        return None
    spans = list(_spans(segment, following, start, total, page))
    record = bytearray().join(span.buffer[span.at : span.at + span.size] for span in spans)
    if len(record) < total or not _names_a_folder(record):
        return None
    path = bytes(record[_PATH_AT:]).partition(b"\0")[0].decode("utf-8", "replace")
    record[_PATH_AT] = 0
    struct.pack_into("<I", record, _CRC_AT, _checksum(record))
    done = 0
    for span in spans:
        span.buffer[span.at : span.at + span.size] = record[done : done + span.size]
        done += span.size
    return path


def _names_a_folder(record: bytearray) -> bool:
    (checksum,) = struct.unpack_from("<I", record, _CRC_AT)
    return (
        record[_HEADER] == _SHORT
        and record[_HEADER + 1] == len(record) - _HEADER - 2
        and record[_PATH_AT] == ord("/")
        and checksum == _checksum(record)
    )


def _checksum(record: bytearray) -> int:
    """Return the CRC of a record: of its data, then of its header as far as the CRC itself."""
    return int(crc32c(bytes(record[:_CRC_AT]), crc32c(bytes(record[_HEADER:]))))


def _start(type_at: int, page: int) -> int | None:
    """Return where the record begins; None if that is in the segment before."""
    header = _header(type_at - type_at % page)
    before = type_at % page - header  # bytes of the record's header on the same page, at most
    if before >= _AT:
        return type_at - _AT
    start = type_at - type_at % page - (_AT - before)
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
