"""An HTTP proxy in front of a real S3 server, which can spoil requests and answers."""

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def is_(self, method: str, parameter: str = "") -> bool:
        """Whether the request has this method and, if given, this query parameter (`uploadId`)."""
        names = [pair.partition("=")[0] for pair in urlsplit(self.path).query.split("&")]
        return self.method == method and (not parameter or parameter in names)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer for the client."""

    status: int  # 0: close the connection without an answer
    headers: Mapping[str, str]
    body: bytes
    sent: int | None = None  # close the connection after so many bytes of the body; None: send all


Forward = Callable[[], Answer]
Meddle = Callable[[Request, Forward], Answer]
"""Return the answer for the client, given the request and what forwards it."""

Cut = Callable[[Request], int | None]
"""Return the number of bytes of the body after which the connection is reset, or None to let the
request pass. The request is given without its body."""
Damage = Callable[[Request], bytes]
"""Return the body that the server gets in place of the one that was sent."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing the socket then resets the connection."""


def refusal(status: int, code: str, message: str = "") -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


class Storm:
    """Refuse every request for some seconds after the first one."""

    def __init__(self, seconds: float, answer: Answer) -> None:
        self._seconds = seconds
        self._answer = answer
        self._until: float | None = None
        self.refused = 0

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if self._until is None:
            self._until = monotonic() + self._seconds
        if monotonic() > self._until:
            return forward()
        self.refused += 1
        return self._answer


class OnIPv6(ThreadingHTTPServer):
    """A server on the loopback address of IPv6."""

    address_family = socket.AF_INET6


@contextmanager
def proxy(
    endpoint: str,
    meddle: Meddle,
    context: ssl.SSLContext | None = None,
    cut: Cut = lambda request: None,
    damage: Damage = lambda request: request.body,
    serve: type[ThreadingHTTPServer] = ThreadingHTTPServer,
) -> Iterator[str]:
    """Yield the endpoint of a proxy in front of another endpoint.

    context: serve by TLS with it. serve: OnIPv6 for another loopback.
    """
    host = "::1" if serve is OnIPv6 else "127.0.0.1"
    upstream = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            head = Request(self.command, self.path, dict(self.headers.items()), b"")
            after = cut(head)
            if after is not None:
                self.rfile.read(min(after, length))
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.close_connection = True
                return
            request = replace(head, body=self.rfile.read(length))
            _give(self, meddle(request, lambda: _forward(upstream, request, damage(request))))

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with serve((host, 0), Handler) as server:
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            bracketed = f"[{host}]" if ":" in host else host
            yield f"http{'s' if context else ''}://{bracketed}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _forward(upstream: str, request: Request, body: bytes) -> Answer:
    connection = http.client.HTTPConnection(upstream, timeout=30)
    try:
        connection.request(request.method, request.path, body, dict(request.headers))
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def _give(client: BaseHTTPRequestHandler, answer: Answer) -> None:
    if answer.status == 0:
        client.close_connection = True
        return
    client.send_response(answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
            client.send_header(name, value)
    length: str | None = str(len(answer.body))
    if client.command == "HEAD":
        length = answer.headers.get("Content-Length")
    if length is not None:
        client.send_header("Content-Length", length)
    client.end_headers()
    if client.command != "HEAD":
        client.wfile.write(answer.body[: answer.sent])
    client.close_connection = answer.sent is not None
