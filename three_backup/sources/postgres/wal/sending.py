"""Store files of WAL by several threads, and look afterwards whether they are there."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from three_backup.errors import BackupError
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import Piece, Segment, cut

DIFFERS = "postgres.wal_differs"
"""The error code if the archive has other WAL in the place of a file's."""

_THREADS = 4


@dataclass(frozen=True, slots=True)
class File:
    """A segment at the server."""

    path: Path
    segment: Segment
    end: int  # position until which it is to be stored
    modified: float  # when, in seconds of the epoch
    identity: list[int]  # see host.handed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the files."""

    stored: Sequence[File]  # and checked
    error: BackupError | None  # the first one; nothing was begun after it


def send(archive: WalArchive, files: Sequence[File], segment_size: int) -> Outcome:
    """Store the files in their order; what is stored already is compared."""
    sending = _Sending(archive, _listed(archive, files))
    tasks = [
        (file, Piece(file.segment.timeline, start, end))
        for file in files
        for start, end in cut(file.segment.start, file.end, segment_size)
    ]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="wal") as pool:
        stored = list(pool.map(sending.store, tasks))
    if not any(stored):
        return Outcome((), sending.error)
    listed = {(piece, piece.stored) for piece in _listed(archive, files)}
    lacking = [
        file
        for (file, _), piece in zip(tasks, stored, strict=True)
        if piece is None or (piece, piece.stored) not in listed
    ]
    good = [file for file in files if file not in lacking]
    error = sending.error
    if error is None and lacking:
        error = _unlisted(archive, lacking[0])
    return Outcome(good, error)


class _Sending:
    """Stores pieces; threads share it."""

    def __init__(self, archive: WalArchive, known: Sequence[Piece]) -> None:
        self.error: BackupError | None = None
        self._archive, self._known, self._stopped = archive, known, Event()

    def store(self, task: tuple[File, Piece]) -> Piece | None:
        """Return the piece as it is stored; None after the first failure."""
        if self._stopped.is_set():
            return None
        file, piece = task
        try:
            return self._store(file, piece, _read(file, piece))
        except BackupError as error:
            self.error = self.error or error
            self._stopped.set()
            return None

    def _store(self, file: File, piece: Piece, content: bytes) -> Piece:
        whole = None
        for known in self._known:
            if (
                known.timeline == piece.timeline
                and piece.start <= known.start
                and known.end <= piece.end
            ):
                self._compare(file, known, content[known.start - piece.start :])
                whole = known if known == piece else whole
        if whole is not None:
            return whole
        stored = self._archive.put(piece, content)
        return Piece(piece.timeline, piece.start, piece.end, stored)

    def _compare(self, file: File, known: Piece, content: bytes) -> None:
        if self._archive.read(known) != content[: known.size]:
            raise BackupError(
                DIFFERS,
                f"{file.path.name}: the archive has another content of it",
                "find out which server writes there, too; give each cluster that is a copy of "
                "another one a timeline or an s3_prefix of its own",
            )


def _read(file: File, piece: Piece) -> bytes:
    try:
        with file.path.open("rb") as opened:
            content = os.pread(opened.fileno(), piece.size, piece.start - file.segment.start)
    except OSError as error:
        raise BackupError(
            "postgres.no_wal",
            f"{file.path}: this segment cannot be read ({error.strerror})",
            "see the log of the server and its disk",
        ) from error
    if len(content) != piece.size:
        raise BackupError(
            "postgres.no_wal",
            f"{file.path}: this file is too short for a segment",
            "see the log of the server and its disk",
        )
    return content


def _listed(archive: WalArchive, files: Sequence[File]) -> list[Piece]:
    """Return the pieces that lie where the files belong."""
    first: dict[int, int] = {}
    for timeline, start in (file.segment for file in files):
        first[timeline] = min(start, first.get(timeline, start))
    return [
        piece
        for timeline, start in first.items()
        for piece in archive.pieces_since(timeline, start)
    ]


def _unlisted(archive: WalArchive, file: File) -> BackupError:
    return BackupError(
        "postgres.wal_unlisted",
        f"{archive.place}: S3 does not list {file.path.name} with the size that was sent",
        "run tb-check, which tries out the store",
    )
