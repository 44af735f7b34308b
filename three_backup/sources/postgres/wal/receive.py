"""Receive WAL from a slot and store it as pieces; the slot follows what is stored."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.jobs import Advance
from three_backup.sources.postgres.connection import connect_replication
from three_backup.sources.postgres.replication import Stream
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import Piece, cut, lsn
from three_backup.sources.postgres.wal.resume import PAGE, Part
from three_backup.sources.postgres.wal.uploads import Uploads

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

_WAL, _KEEPALIVE = ord("w"), ord("k")
_HEADER = 25  # bytes before the WAL in a message: its kind, two positions and a time
_ASKS = 17  # the byte of a keepalive that says whether the server wants an answer
_STATUS = struct.Struct("!cQQQQB")  # kind; written, flushed, applied until; time; no answer
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Received:
    """What was stored."""

    pieces: int = 0
    bytes: int = 0  # of WAL
    stored: int = 0  # bytes in S3

    def __add__(self, other: "Received") -> "Received":
        return Received(
            self.pieces + other.pieces, self.bytes + other.bytes, self.stored + other.stored
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """The slot to receive from."""

    name: str
    restart: int  # position from which on the server keeps WAL


def receive(
    archive: WalArchive, slot: Kept, part: Part, segment_size: int, advance: Advance
) -> Received:
    """Store a part. Raises BackupError; `postgres.wal_removed` if the server lacks its start.

    Whatever is stored by then stays, and the next call goes on from there.
    """
    if part.start >= part.end:
        return Received()
    begin = f"{lsn(part.checked_from)} TIMELINE {part.timeline}"
    command = f"START_REPLICATION SLOT {slot.name} PHYSICAL {begin}".encode()
    with connect_replication() as session:
        confirm = _Confirmation(session.pgconn, slot, advance)
        with Uploads(archive, part.start, confirm) as uploads:
            stream = Stream(session, command, lambda: confirm(uploads.stored_until))
            stream.result()
            cutter = _Cutter(part, segment_size, _end_of(archive, part))
            for message in stream.messages():
                if message[0] == _WAL:
                    advance(len(message) - _HEADER)
                    for piece, content in cutter.cut(message[_HEADER:]):
                        uploads.put(piece, memoryview(content))
                elif message[0] == _KEEPALIVE and message[_ASKS]:
                    confirm(uploads.stored_until)
                if cutter.position >= part.end:
                    break
            else:
                stream.result()  # tells what ended it: the timeline, if it is no error
            uploads.drain()
            _end(stream)
    if cutter.position < part.end:
        raise BackupError(
            "postgres.wal_ended",
            f"{archive.carrier}: the server ended timeline {part.timeline} meanwhile",
            "run tb-wal pull again",
        )
    return Received(uploads.pieces, uploads.bytes, uploads.stored)


class _Confirmation:
    """Tells the server how far WAL is stored, which is a sign of life for it and for the run."""

    def __init__(self, connection: "PGconn", slot: Kept, advance: Advance) -> None:
        self._connection, self._slot, self._advance = connection, slot, advance

    def __call__(self, stored_until: int) -> None:
        """Move the slot to a page before the position, which the next call compares."""
        until = max(stored_until - PAGE, self._slot.restart)
        now = (datetime.now(UTC) - _EPOCH) // timedelta(microseconds=1)
        self._connection.put_copy_data(_STATUS.pack(b"r", until, until, 0, now, 0))
        self._connection.flush()
        self._advance(0)


class _Cutter:
    """Cuts what arrives into pieces, after a comparison with what the archive ends with."""

    def __init__(self, part: Part, segment_size: int, before: bytes) -> None:
        self.position = part.checked_from
        self._part, self._before = part, before
        self._borders = cut(part.start, part.end, segment_size)
        self._next: tuple[int, int] | None = next(self._borders)
        self._content = bytearray()

    def cut(self, arrived: memoryview) -> Iterator[tuple[Piece, bytearray]]:
        """Take what follows; yield the pieces that are complete. Raises BackupError."""
        arrived = self._compared(arrived)
        while arrived and self._next is not None:
            start, end = self._next
            fitting = arrived[: end - self.position]
            self._content += fitting
            self.position += len(fitting)
            arrived = arrived[len(fitting) :]
            if self.position == end:
                yield Piece(self._part.timeline, start, end), self._content
                self._content = bytearray()
                self._next = next(self._borders, None)

    def _compared(self, arrived: memoryview) -> memoryview:
        """Return what of it the archive lacks."""
        known = arrived[: max(0, self._part.start - self.position)]
        if not known:
            return arrived
        if known != self._before[: len(known)]:
            raise other_history(self._part)
        self._before = self._before[len(known) :]
        self.position += len(known)
        return arrived[len(known) :]


def other_history(part: Part) -> BackupError:
    return BackupError(
        "postgres.other_history",
        f"PostgreSQL: its WAL before {lsn(part.start)} on timeline {part.timeline} is another than"
        " the archived one: the server was set back",
        "restore it with a recovery.signal, so that it begins a timeline of its own, or archive it"
        " below another s3_prefix; then take a base",
    )


def _end_of(archive: WalArchive, part: Part) -> bytes:
    """Return the archived WAL from where the part is compared to where it begins."""
    if part.last is None:
        return b""
    return archive.read(part.last)[part.checked_from - part.last.start :]


def _end(stream: Stream) -> None:
    """End the stream in an orderly way, so that the server takes notice of the last word."""
    stream.connection.put_copy_end()
    stream.connection.flush()
    for _ in stream.messages():
        pass
    while stream.next_result() is not None:
        pass
