"""Stream a base backup by the replication protocol, on one connection.

A temporary slot on the same connection keeps the WAL that the backup needs until it has been
sent. The slot disappears with the connection, however that ends.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from three_backup.sources.base import ParentUnusableError
from three_backup.sources.postgres.replication import Stream

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

    from three_backup.sources.postgres.connection import Connection

_ARCHIVE, _CONTENT, _MANIFEST = ord("n"), ord("d"), ord("m")
_PIECE = 256 << 10
# A server that cannot build on a parent says so with one of these, whatever its language is:
# object_not_in_prerequisite_state, internal_error, data_corrupted.
_REFUSALS = ("55000", "XX000", "XX001")


@dataclass(frozen=True, slots=True)
class Streamed:
    """A backup that has arrived whole."""

    start_lsn: str
    end_lsn: str
    timeline: int
    tablespaces: dict[int, str]  # oid and location of each extra tablespace
    # The server's warnings of pages with wrong checksums, which it sent unchanged.
    damage: tuple[str, ...] = ()


class Receiver(Protocol):
    """A receiver of what the server sends, in the server's order."""

    def expected(self, size: int) -> None:
        """Take the approximate bytes to come. Not called for an incremental: they are unknown."""

    def archive(self, tablespace: int | None) -> None:
        """Begin a tar archive: of the tablespace by its oid, or of the data directory (None)."""

    def content(self, piece: memoryview) -> None:
        """Take the next bytes of the archive. piece stays valid."""

    def manifest(self, piece: memoryview) -> None:
        """Take the next bytes of the server's manifest, which follows the last archive."""

    def waiting(self) -> None:
        """Note that nothing came for a while; the connection is still open."""


def reserve_wal(connection: "Connection", slot: str) -> None:
    """Keep the WAL from here on for as long as the connection is open."""
    connection.execute(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY PHYSICAL (RESERVE_WAL)".encode())


def upload_manifest(connection: "Connection", manifest: bytes) -> None:
    """Tell the server what the parent holds. Raises ParentUnusableError if it refuses."""
    import psycopg

    view = memoryview(manifest)
    try:
        with connection.cursor() as cursor, cursor.copy("UPLOAD_MANIFEST") as copy:
            for start in range(0, len(manifest), _PIECE):
                copy.write(view[start : start + _PIECE])
    except psycopg.Error as error:
        if error.sqlstate in _REFUSALS:
            raise _parent_unusable(error) from error
        raise


def stream_backup(
    connection: "Connection", label: str, receiver: Receiver, *, incremental: bool
) -> Streamed:
    """Have the server take a backup and hand it on as it comes.

    Raises ParentUnusableError if the server cannot build on the manifest that was uploaded.
    """
    import psycopg

    warnings: list[str] = []
    connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    server = Stream(connection, _command(label, incremental=incremental), receiver.waiting)
    try:
        start_lsn, timeline = _row(server.result())
    except psycopg.Error as error:
        if incremental and error.sqlstate in _REFUSALS:
            raise _parent_unusable(error) from error
        raise
    archives = server.result()
    tablespaces = _tablespaces(archives)
    if not incremental:
        receiver.expected(_size(archives))
    server.result()
    router = _Router(receiver)
    for message in server.messages():
        router.message(message)
    end_lsn, _ = _row(server.result())
    is_damaged = _ends_damaged(server)
    if is_damaged and not warnings:
        raise psycopg.errors.DataCorrupted("a checksum is wrong, and the server names no file")
    damage = tuple(warnings) if is_damaged else ()
    return Streamed(start_lsn, end_lsn, int(timeline), tablespaces, damage)


def _command(label: str, *, incremental: bool) -> bytes:
    options = [
        f"LABEL '{label}'",
        "CHECKPOINT 'fast'",
        "WAL true",
        "TABLESPACE_MAP true",
        "WAIT false",  # not for WAL to be archived: the backup brings its own
        "MANIFEST 'yes'",
        "MANIFEST_CHECKSUMS 'CRC32C'",
        "TARGET 'client'",
    ]
    options.append("INCREMENTAL true" if incremental else "PROGRESS true")
    return f"BASE_BACKUP ({', '.join(options)})".encode()


def _ends_damaged(server: Stream) -> bool:
    """Tell whether the server reports wrong checksums at the end; any other error is raised."""
    import psycopg

    try:
        while server.next_result() is not None:
            pass
    except psycopg.errors.DataCorrupted:
        return True
    return False


class _Router:
    """A dispatcher of the stream's messages to the receiver, by their first byte."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._in_manifest = False

    def message(self, message: memoryview) -> None:
        kind = message[0]
        if kind == _CONTENT:
            give = self._receiver.manifest if self._in_manifest else self._receiver.content
            give(message[1:])
        elif kind == _ARCHIVE:
            name = bytes(message[1:]).partition(b"\0")[0].decode().partition(".")[0]
            self._receiver.archive(int(name) if name.isdigit() else None)
        elif kind == _MANIFEST:
            self._in_manifest = True


def _row(result: "PGresult") -> tuple[str, str]:
    return (result.get_value(0, 0) or b"").decode(), (result.get_value(0, 1) or b"").decode()


def _tablespaces(result: "PGresult") -> dict[int, str]:
    """Return oid and location of each archive but the data directory's, which has no oid.

    They are sorted by oid: the server lists them in the order of its file system.
    """
    found = {}
    for row in range(result.ntuples):
        oid, location = result.get_value(row, 0), result.get_value(row, 1)
        if oid and location is not None:
            found[int(oid)] = os.fsdecode(location)
    return dict(sorted(found.items()))


def _size(result: "PGresult") -> int:
    """Return the bytes of all archives; the server counts them in kilobytes."""
    return sum(1024 * int(result.get_value(row, 2) or 0) for row in range(result.ntuples))


def _parent_unusable(error: "psycopg.Error") -> ParentUnusableError:
    said = error.diag.message_primary or str(error)
    return ParentUnusableError("postgres.parent_unusable", f"PostgreSQL: {said}")
