"""A proxy that changes bytes on their way from a PostgreSQL server."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer


@contextmanager
def flipping_proxy(server: Path, word: bytes, other: bytes) -> Iterator[int]:
    """Run a proxy to the server's socket; in answers, other replaces word. Yields the port."""

    class Carrier(BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as upstream:
                upstream.connect(str(server))
                _carry(self.request, upstream, word, other)

    with ThreadingTCPServer(("127.0.0.1", 0), Carrier) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,)).start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()


def _carry(client: socket.socket, upstream: socket.socket, word: bytes, other: bytes) -> None:
    """Carry bytes both ways until either side closes."""
    while True:
        readable, _, _ = select.select((client, upstream), (), ())
        for source in readable:
            piece = source.recv(1 << 16)
            if not piece:
                return
            if source is upstream:
                client.sendall(piece.replace(word, other))
            else:
                upstream.sendall(piece)
