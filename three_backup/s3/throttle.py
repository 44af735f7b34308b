"""Holds transfers back to the limit that the configuration sets, one for the whole process."""

import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from threading import Lock
from typing import Any

from three_backup.host import signals
from three_backup.model.bandwidth import Bandwidth

_BURST = 0.1
"""Seconds whose bytes may go at once: sleeping is not exact."""

_PIECE = 1 << 16
"""Bytes that are read at once where there is a limit."""


class Throttle:
    """A bucket of tokens, one for each byte, that threads share."""

    def __init__(
        self,
        rate: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = signals.pause,
    ) -> None:
        """rate: tells how many tokens come in a second; None: there is no limit now."""
        self._rate, self._clock, self._pause = rate, clock, pause
        self._lock = Lock()
        self._paid = clock()  # until then all tokens are taken

    @property
    def rate(self) -> int | None:
        """The bytes a second at present; None: there is no limit."""
        return self._rate()

    def take(self, count: int) -> None:
        """Wait until so many bytes may go; not once the tool was told to stop."""
        rate = self._rate()
        if rate is None:
            return
        with self._lock:
            now = self._clock()
            self._paid = max(self._paid, now - _BURST) + count / rate
            wait = self._paid - now
        if wait > 0:
            self._pause(wait)


_throttles = [Throttle(lambda: None)]


def configure(limit: Bandwidth, clock: Callable[[], datetime], zone: tzinfo) -> None:
    """Set the limit of this process. zone: that of its hours."""
    _throttles[0] = Throttle(lambda: limit.at(clock(), zone))


def rate() -> int | None:
    """Return the bytes a second that may be moved at present; None: as many as can be."""
    return _throttles[0].rate


def read(body: Any) -> bytes:
    """Return the whole body of an answer."""
    throttle = _throttles[0]
    if throttle.rate is None:
        return bytes(body.read())
    pieces = []
    for piece in body.iter_chunks(_PIECE):
        throttle.take(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def register(events: Any) -> None:
    """Hold back what a client sends. events: of the client."""
    for operation in ("PutObject", "UploadPart"):
        events.register(f"before-send.s3.{operation}", _slow_down)


def _slow_down(request: Any, **_: Any) -> None:
    """Have the body read piece by piece; it is signed already."""
    throttle = _throttles[0]
    if throttle.rate is not None and isinstance(request.body, bytes | bytearray):
        request.body = _Held(request.body, throttle)


class _Held:
    """A body that is read no faster than the throttle lets it."""

    def __init__(self, body: bytes | bytearray, throttle: Throttle) -> None:
        self._body, self._throttle = memoryview(body), throttle
        self._at = 0

    def __len__(self) -> int:
        return len(self._body)

    def read(self, size: int = -1) -> bytes:
        end = len(self._body) if size < 0 else self._at + size
        piece = bytes(self._body[self._at : end])
        self._throttle.take(len(piece))
        self._at += len(piece)
        return piece

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int) -> None:
        self._at = offset
