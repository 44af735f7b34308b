"""The turns of restores that overlap: one after the other, each under its own progress bar."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Lock

from three_backup.host import signals
from three_backup.screen.progress import Transfer

OpenBar = Callable[[], AbstractContextManager[Transfer]]


class Turn:
    """The turn of one restore.

    one_at_a_time: the same lock for all; after: set when the one before has had its turn; bar:
    drawn in the turn.
    """

    def __init__(self, one_at_a_time: Lock, after: Event, bar: OpenBar) -> None:
        self._one_at_a_time, self._after, self._bar = one_at_a_time, after, bar
        self._transfer: Transfer | None = None
        self.over = Event()  # it was had, or is not needed
        self.waited = 0.0  # seconds

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and have it during the block."""
        since = time.monotonic()
        self._after.wait()
        with self._one_at_a_time:
            self.waited += time.monotonic() - since
            try:
                signals.obey_beside()
                with self._bar() as self._transfer:
                    yield
            finally:
                self.over.set()

    def advance(self, count: int) -> None:
        """Count bytes that were moved, in the turn."""
        if self._transfer is not None:
            self._transfer(count)

    def expect(self, count: int) -> None:
        """Add to the bytes that will be moved, in the turn."""
        if self._transfer is not None:
            self._transfer.expect(count)
