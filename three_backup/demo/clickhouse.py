"""ClickHouse from a Python wheel: the real engine, and a `clickhouse-client` that finds it."""

import json
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from xml.sax.saxutils import escape

from three_backup.demo import clickhouse_client, clickhouse_engine
from three_backup.demo.daemon import Account, Daemon
from three_backup.errors import BackupError

_USER = "default"
_CLIENT = """\
#!/bin/sh
exec {python} -S -E {client} {socket} "$@"
"""


class ClickhouseServer:
    """One engine in a folder of its own; a context manager starts and stops it.

    collections: named collections; macros: those of the server; both as in its configuration.
    """

    def __init__(
        self,
        folder: Path,
        collections: Mapping[str, Mapping[str, str]] | None = None,
        macros: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.password = secrets.token_hex(12)
        self.bindir = folder / "bin"
        self._daemon = Daemon("ClickHouse", folder, Account())
        self.bindir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket = folder / "socket"
        self._write_files(collections or {}, macros or {})

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables by which a program finds this server and its client."""
        return {
            "CLICKHOUSE_USER": _USER,
            "CLICKHOUSE_PASSWORD": self.password,
            "PATH": f"{self.bindir}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def start(self) -> None:
        """Start the engine; return when it takes statements."""
        if find_spec("chdb") is None:
            raise BackupError(
                "demo.wheel",
                "ClickHouse for the demo is not installed",
                "pip install chdb-core, or pip install '.[demo]' in a checkout",
            )
        argv = (sys.executable, clickhouse_engine.__file__, self.folder, _USER)
        environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)}
        self._daemon.start(argv, environ, self._is_ready)

    def stop(self) -> None:
        self._daemon.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as the kernel's OOM killer would."""
        self._daemon.end(signal.SIGKILL)

    def execute(self, statement: str, **settings: str) -> None:
        self.rows(statement, **settings)

    def rows(self, statement: str, **settings: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; raises BackupError with what the server says."""
        request = {
            "query": statement,
            "format": "JSONCompactEachRow",
            "database": "default",
            "user": _USER,
            "password": self.password,
            "settings": settings,
        }
        status, _, printed = self._asked(json.dumps(request).encode()).partition(b"\n")
        if status != b"0":
            raise BackupError("demo.clickhouse", printed.decode("utf-8", "replace").strip())
        return [tuple(json.loads(line)) for line in printed.splitlines()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _asked(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def _is_ready(self) -> bool:
        with suppress(OSError):
            return bool(self.rows("SELECT 1"))
        return False

    def _write_files(
        self, collections: Mapping[str, Mapping[str, str]], macros: Mapping[str, str]
    ) -> None:
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        configuration = self.folder / "config.xml"
        configuration.touch(mode=0o600)
        named = "".join(_element(name, _elements(values)) for name, values in collections.items())
        written = _element("named_collections", named) + _element("macros", _elements(macros))
        configuration.write_text(_element("clickhouse", written))
        client = self.bindir / "clickhouse-client"
        client.write_text(
            _CLIENT.format(
                python=shlex.quote(sys.executable),
                client=shlex.quote(clickhouse_client.__file__),
                socket=shlex.quote(str(self._socket)),
            )
        )
        client.chmod(0o700)


def _elements(values: Mapping[str, str]) -> str:
    return "".join(_element(name, escape(value)) for name, value in values.items())


def _element(name: str, inside: str) -> str:
    return f"<{name}>{inside}</{name}>"
