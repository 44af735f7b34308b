"""A stand-in for `clickhouse-client` that talks to an engine on a socket.

It does as much as our tools, the tests and a curious person use. Run it with `python -S`: it needs
the standard library only, and starts at once.
"""

import json
import os
import re
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

_VALUED = {
    "query": "query",
    "q": "query",
    "format": "format",
    "user": "user",
    "u": "user",
    "password": "password",
    "host": "host",
    "h": "host",
    "port": "port",
    "database": "database",
    "d": "database",
}
_IGNORED = ("secure", "multiquery", "receive_timeout")
_LOCAL = ("localhost", "127.0.0.1")
_NETWORK, _ARGUMENTS, _SYNTAX = 210, 552, 62
_VERSION = re.compile(r" \(version [^)]*\)+\.?")


def main(argv: Sequence[str]) -> int:
    socket_path, *words = argv
    options = _options(words)
    if options["host"] not in _LOCAL:
        _fail(
            _NETWORK,
            f"Code: 210. DB::NetException: Connection refused ({options['host']}:"
            f"{options['port']}). (NETWORK_ERROR)",
        )
    query = options.get("query")
    statement = (
        sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if query is None else query
    )
    request = {
        "query": statement,
        "format": options["format"],
        "database": options["database"],
        "user": options["user"],
        "password": options["password"],
        "settings": options["settings"],
    }
    status, _, printed = _asked(socket_path, request, options).partition(b"\n")
    if status != b"0":
        return _complain(int(status), printed.decode("utf-8", "replace"), statement, options)
    sys.stdout.buffer.write(printed)
    sys.stdout.buffer.flush()
    return 0


def _options(words: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "format": "TabSeparated",
        "database": "default",
        "user": os.environ.get("CLICKHOUSE_USER", "default"),
        "password": os.environ.get("CLICKHOUSE_PASSWORD", ""),
        "host": "localhost",
        "port": "9000",
        "settings": {},
    }
    left = list(words)
    while left:
        name, has_value, value = left.pop(0).lstrip("-").partition("=")
        if name in ("version", "V"):
            sys.stdout.write("ClickHouse client version 26.9.2.1 (stand-in over chdb).\n")
            raise SystemExit(0)
        if name in _VALUED:
            options[_VALUED[name]] = value if has_value else left.pop(0)
        elif has_value and name not in _IGNORED:
            options["settings"][name] = value
        elif name not in _IGNORED:
            _fail(_ARGUMENTS, f"Code: 552. DB::Exception: Unrecognized option '--{name}'.")
    return options


def _asked(path: str, request: dict[str, Any], options: dict[str, Any]) -> bytes:
    """Return the server's answer; a server that dies while answering counts as not there."""
    printed = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(1 << 16):
                printed += received
    except OSError:
        printed = b""
    if not printed:
        _fail(
            _NETWORK,
            f"Code: 210. DB::NetException: Connection refused ({options['host']}:"
            f"{options['port']}). (NETWORK_ERROR)",
        )
    return printed


def _complain(code: int, text: str, statement: str, options: dict[str, Any]) -> int:
    """Report an error as the real client does: it repeats the statement with its credentials."""
    said = _VERSION.sub("", text.strip())
    if code != _SYNTAX:
        said = said.removeprefix(f"Code: {code}. DB::Exception: ")
        said = (
            f"Received exception from server (version 26.9):\nCode: {code}. DB::Exception: "
            f"Received from {options['host']}:{options['port']}. DB::Exception: {said}\n"
            f"(query: {statement.strip()})"
        )
    sys.stderr.write(said + "\n")
    return code & 255 or 1


def _fail(code: int, text: str) -> NoReturn:
    sys.stderr.write(text + "\n")
    raise SystemExit(code & 255)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
