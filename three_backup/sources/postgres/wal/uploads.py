"""Store pieces while further ones arrive; tell how far the archive is whole."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import Piece

_THREADS = 2
_BEAT = 5.0
"""Seconds between two signs of life while the archive keeps us waiting: servers give a minute."""


class Uploads:
    """A context manager with threads that store pieces; at most two more than threads wait.

    beat: called in the caller's thread with the position up to which everything is stored: often
    enough for a server that would end a silent connection.
    """

    def __init__(self, archive: WalArchive, start: int, beat: Callable[[int], None]) -> None:
        self.stored_until = start  # position
        self.pieces = 0
        self.bytes = 0  # of WAL
        self.stored = 0  # bytes in S3
        self._archive, self._beat = archive, beat
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="wal")
        self._sent: deque[tuple[Piece, Future[int]]] = deque()  # in the order of their WAL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def put(self, piece: Piece, content: memoryview) -> None:
        """Store a piece that follows the one before. Waits while too many are on their way."""
        self._sent.append((piece, self._pool.submit(self._archive.put, piece, content)))
        self._settle(_THREADS)

    def drain(self) -> None:
        """Wait until everything is stored. Raises what a thread raised."""
        self._settle(0)

    def _settle(self, at_most: int) -> None:
        before = self.stored_until
        while self._sent and (len(self._sent) > at_most or self._sent[0][1].done()):
            piece, future = self._sent[0]
            if wait((future,), _BEAT).not_done:
                self._beat(self.stored_until)
                continue
            self.stored += future.result()
            self.pieces, self.bytes = self.pieces + 1, self.bytes + piece.size
            self.stored_until = piece.end
            self._sent.popleft()
        if self.stored_until != before:
            self._beat(self.stored_until)
