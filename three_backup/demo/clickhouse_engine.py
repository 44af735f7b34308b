"""The engine of ClickHouse (`chdb-core`) as a server on a socket, for the demo and the tests.

It stays in memory between statements, so that BACKUP can go on with nobody waiting for it. Each
connection sends one statement as a JSON object: query, format, database, settings, user, password.
The answer is a status (0 or the server's error code), a line feed, and what was printed.
"""

import json
import os
import re
import signal
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

Credentials = tuple[str, str]

_CODE = re.compile(r"Code: (\d+)\.")
_REPEATED = re.compile(r"^(Code: \d+\. DB::Exception: )\1+")
_UNKNOWN = 1001
_REFUSAL = (
    "Code: 516. DB::Exception: {}: Authentication failed: password is incorrect, or there is no "
    "user with such name. (AUTHENTICATION_FAILED)"
)


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The server. folder: of data and socket; configuration: a file in ClickHouse's XML."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, credentials: Credentials, configuration: Path) -> None:
        from chdb import connect

        self.credentials = credentials
        self._connect = connect
        self._database = str(folder / "engine")
        self.main = connect(f"{self._database}?config-file={configuration}")
        socket = folder / "socket"
        socket.unlink(missing_ok=True)
        super().__init__(str(socket), _Statement)

    def execute(self, request: dict[str, Any]) -> bytes:
        if (request["user"], request["password"]) != self.credentials:
            return _failure(_REFUSAL.format(request["user"]))
        connection = self._connect(self._database)
        try:
            connection.query(f"USE `{request['database']}`")
            for name, value in request["settings"].items():
                connection.query(f"SET {name} = '{value}'")
            printed = connection.query(request["query"].rstrip().rstrip(";"), request["format"])
            output: bytes = printed.bytes()
            return b"0\n" + output
        except RuntimeError as error:
            return _failure(str(error))
        finally:
            connection.close()


class _Statement(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Engine)  # noqa: S101
        request = json.loads(self.rfile.read())
        self.wfile.write(self.server.execute(request))


def _failure(text: str) -> bytes:
    text = _REPEATED.sub(r"\1", text.strip())
    found = _CODE.search(text)
    return f"{found[1] if found else _UNKNOWN}\n{text}\n".encode("utf-8", "surrogateescape")


def main() -> None:
    folder, user = Path(sys.argv[1]), sys.argv[2]
    credentials = user, (folder / "password").read_text()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = Engine(folder, credentials, folder / "config.xml")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
