"""Threads that send parts, and the buffers that the parts are read into."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue
from typing import Self

Send = Callable[[], None]


class Senders:
    """A context manager that at its end waits for all parts, even after a failure: they are few.

    There is one buffer more than there are threads: the reader fills it while they send.
    """

    def __init__(self, threads: int, part_size: int) -> None:
        self._part_size = part_size
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        self._sending: list[Future[None]] = []
        self._failed: Future[None] | None = None
        for _ in range(threads + 1):
            self._free.put(bytearray(part_size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._pool.shutdown()

    def buffer(self) -> bytearray:
        """Wait for a free buffer of a part's size. Raises what a thread raised."""
        buffer = self._free.get()
        self._check()
        return buffer if len(buffer) == self._part_size else bytearray(self._part_size)

    def give_back(self, buffer: bytearray) -> None:
        self._free.put(buffer)

    def send(self, buffer: bytearray, send: Send) -> None:
        """Call send in a thread; the buffer is free again when it is done."""
        future = self._pool.submit(send)
        self._sending.append(future)
        future.add_done_callback(partial(self._sent, buffer))

    def drain(self) -> None:
        """Wait until everything is sent. Raises what a thread raised."""
        wait(self._sending)
        self._sending.clear()
        self._check()

    def _sent(self, buffer: bytearray, future: Future[None]) -> None:
        if future.exception() is not None:
            self._failed = future
        self._free.put(buffer)

    def _check(self) -> None:
        if self._failed is not None:
            self._failed.result()
