"""An S3 server that costs almost nothing, so that a benchmark measures the client.

The kernel discards the received bytes before it copies them; what the server gives comes from one
file, by sendfile.
"""

import hashlib
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from three_backup.demo.daemon import LOOPBACK

ETAG = '"00000000000000000000000000000000-1"'
"""Not an MD5, and of the form that tells clients so: they do not compare it."""

_ROOM = 8 << 20
_CHECKED = 1 << 16
"""Bytes of the largest body that is compared with its signed SHA-256, if any is."""
_HEAD_END = b"\r\n\r\n"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Listing(Protocol):
    def __call__(self, query: Mapping[str, str]) -> bytes:
        """Return the answer to ListObjectsV2."""


@dataclass(slots=True)
class Sink:
    """The state of the server."""

    given: Path | None = None  # every GET returns this file, or a range of it
    listing: Listing | None = None  # answers the requests that list keys
    checks: bool = False  # refuse a small body that was damaged; none of a benchmark is
    access_key: str = "sink"
    secret_key: str = "sink"
    endpoint: str = ""
    requests: int = 0  # received so far
    sizes: dict[str, int] = field(default_factory=dict)
    uploads: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))


@contextmanager
def sink(
    given: Path | None = None, listing: Listing | None = None, *, checks: bool = False
) -> Iterator[Sink]:
    made = Sink(given, listing, checks)

    class Connection(_Connection):
        sink = made

    class Server(ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server((LOOPBACK, 0), Connection) as server:
        made.endpoint = f"http://{LOOPBACK}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    def is_damaged(self, body: bytes) -> bool:
        """Whether a body that was not dropped differs from the one that was signed."""
        signed = self.headers.get("x-amz-content-sha256", "")
        whole = len(body) == self.length and len(signed) == hashlib.sha256().digest_size * 2
        return whole and signed != hashlib.sha256(body).hexdigest()


class _Connection(BaseRequestHandler):
    """Speak HTTP without the standard library, which copies every body."""

    sink: Sink
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came = b""
        self._room = bytearray(_ROOM)
        with suppress(ConnectionError):
            while (request := self._head()) is not None:
                with self.sink.lock:
                    self.sink.requests += 1
                if request.headers.get("expect", "").lower() == "100-continue":
                    self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._answer(request, self._body(request))

    def _head(self) -> _Request | None:
        while _HEAD_END not in self._came:
            came = self.request.recv(1 << 16)
            if not came:
                return None
            self._came += came
        head, _, self._came = self._came.partition(_HEAD_END)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        parts = urlsplit(target)
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return _Request(method, unquote(parts.path), query, headers)

    def _body(self, request: _Request) -> bytes:
        """Return the body of a request. Of a large PUT the kernel drops it."""
        left = request.length
        kept, self._came = self._came[:left], self._came[left:]
        left -= len(kept)
        dropped = request.method == "PUT" and left > _CHECKED
        flags = socket.MSG_TRUNC if dropped else 0
        while left:
            count = self.request.recv_into(self._room, min(left, _ROOM), flags)
            if not count:
                raise ConnectionResetError
            if not flags:
                kept += self._room[:count]
            left -= count
        return kept

    def _answer(self, request: _Request, body: bytes) -> None:
        if request.method == "PUT" and self.sink.checks and request.is_damaged(body):
            self._say(b"<Error><Code>BadDigest</Code></Error>", "400 Bad Request")
        elif request.method == "PUT":
            self._store(request)
        elif request.method == "POST":
            self._make(request)
        elif request.method == "HEAD":
            self._say(b"", length=self._size(request.key))
        elif "list-type" in request.query and self.sink.listing is not None:
            self._say(self.sink.listing(request.query))
        elif request.method == "GET" and self.sink.given is not None:
            self._give(request, self.sink.given)
        else:
            self._say(b"<Error><Code>NoSuchKey</Code></Error>", "404 Not Found")

    def _store(self, request: _Request) -> None:
        length = int(request.headers.get("x-amz-decoded-content-length", request.length))
        upload = request.query.get("uploadId")
        with self.sink.lock:
            if upload is None:
                self.sink.sizes[request.key] = length
            else:
                self.sink.uploads[upload] += length
        self._say(b"")

    def _make(self, request: _Request) -> None:
        if "uploads" in request.query:
            upload = str(next(self.sink.numbers))
            self.sink.uploads[upload] = 0
            self._say(f"<R><UploadId>{upload}</UploadId></R>".encode())
        else:
            self.sink.sizes[request.key] = self.sink.uploads.pop(request.query["uploadId"])
            self._say(f"<R><ETag>{ETAG}</ETag></R>".encode())

    def _size(self, key: str) -> int:
        return self.sink.sizes.get(key, self.sink.given.stat().st_size if self.sink.given else 0)

    def _give(self, request: _Request, given: Path) -> None:
        size = given.stat().st_size
        match = _RANGE.fullmatch(request.headers.get("range", ""))
        start, last = (int(match[1]), int(match[2] or size)) if match else (0, size)
        last = min(last, size - 1)
        more = f"Content-Range: bytes {start}-{last}/{size}\r\n" if match else ""
        self._say(b"", "206 Partial Content" if match else "200 OK", last - start + 1, more)
        with given.open("rb") as file:
            while start <= last:
                start += os.sendfile(self.request.fileno(), file.fileno(), start, last - start + 1)

    def _say(
        self, body: bytes, status: str = "200 OK", length: int | None = None, more: str = ""
    ) -> None:
        head = (
            f"HTTP/1.1 {status}\r\nETag: {ETAG}\r\nContent-Type: application/xml\r\n{more}"
            f"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
            f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
        )
        self.request.sendall(head.encode() + body)
