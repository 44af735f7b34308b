"""Run pgBackRest from Debian's packages, unpacked in a folder, with Debian's own libraries."""

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import Cost, measure, size_of
from tests.lab import image
from three_backup import command
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError

NAME = "pgBackRest"

_SUITE = "trixie"
_PACKAGE = "pgbackrest"
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_WRAPPER = """\
#!/bin/sh
export PGBACKREST_CONFIG={config} PGBACKREST_STANZA=bench
exec {root}/{libraries}/ld-linux-x86-64.so.2 --library-path {root}/{libraries} \\
    {root}/usr/bin/pgbackrest "$@"
"""
_CONFIGURATION = """\
[global]
cmd={folder}/pgbackrest
{repository}
repo1-bundle=y
repo1-block=y
repo1-retention-full=1
process-max=2
compress-type=zst
compress-level=3
start-fast=y
lock-path={folder}/lock
spool-path={folder}/spool
log-level-console=warn
log-level-file=off

[bench]
pg1-path={server.pgdata}
pg1-port={server.port}
pg1-socket-path={server.folder}
pg1-user=postgres
"""
_FOLDER = "repo1-path={folder}/repository"
_S3 = """\
repo1-type=s3
repo1-path=/pgbackrest
repo1-s3-bucket={s3.bucket}
repo1-s3-endpoint={s3.endpoint}
repo1-s3-key={s3.access_key}
repo1-s3-key-secret={s3.secret_key}
repo1-s3-region=us-east-1
repo1-s3-uri-style=path
repo1-storage-ca-file={s3.ca_file}
"""


@dataclass(frozen=True, slots=True)
class Repository:
    """A bucket that pgBackRest reaches by TLS, the only way it supports."""

    bucket: str
    endpoint: str
    access_key: str
    secret_key: str
    ca_file: Path


class PgBackRest:
    """pgBackRest with a repository beside the server or in S3. It runs as the server's account."""

    def __init__(self, folder: Path, server: PostgresServer, s3: Repository | None = None) -> None:
        """Raises BackupError where the packages cannot be had."""
        self._repository = folder / "repository"
        self._account = unprivileged_account()
        self._server = server
        self._program = folder / "pgbackrest"
        folder.mkdir()
        shutil.copytree(_unpacked(), folder / "root", symlinks=True)
        config = folder / "pgbackrest.conf"
        repository = _FOLDER.format(folder=folder) if s3 is None else _S3.format(s3=s3)
        config.write_text(
            _CONFIGURATION.format(folder=folder, server=server, repository=repository)
        )
        self._program.write_text(
            _WRAPPER.format(root=folder / "root", libraries=_LIBRARIES, config=config)
        )
        self._program.chmod(0o755)
        self._account.own(folder)

    @property
    def archives(self) -> str:
        """The archive_command that pgBackRest needs."""
        return f"{self._program} archive-push %p"

    def cost(self, arguments: str) -> Cost:
        environ = {"PATH": os.environ["PATH"], "HOME": "/"}
        line = f"exec {shlex.quote(str(self._program))} {arguments}"
        return measure(line, environ, (self._server.pid,), account=self._account)

    def shell(self, line: str) -> Cost:
        """Run a line of shell in which `$pgbackrest` names the program."""
        environ = {**self._server.environ, "HOME": "/", "pgbackrest": str(self._program)}
        return measure(line, environ, account=self._account)

    def newest(self) -> str:
        """Return the label of the newest backup."""
        (stanza,) = json.loads(self.cost("info --output=json").output)
        label: str = stanza["backup"][-1]["label"]
        return label

    @property
    def program(self) -> Path:
        return self._program

    def give(self, path: Path) -> None:
        """Give the path to the account of pgBackRest, so that it can write there."""
        self._account.own(path)

    def size(self) -> int:
        """Return the bytes of the newest backup; 0 where the repository is in S3."""
        newest = self._repository / "backup/bench/latest"
        return size_of(newest.resolve()) if newest.exists() else 0


def _unpacked() -> Path:
    """Return the folder of the unpacked packages, downloaded once into the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "three_backup" / f"pgbackrest-{_SUITE}"
    if not folder.exists():
        making = folder.with_name(f".unfinished-{folder.name}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        _download(making)
        for package in making.glob("*.deb"):
            _run("dpkg", "-x", str(package), str(making / "root"))
        (making / "root").rename(folder)
        shutil.rmtree(making)
    return folder


def _download(folder: Path) -> None:
    """Download the packages from the mirror that apt uses here.

    apt keeps its lists and its state in the folder. Raises BackupError where apt has no mirror.
    """
    mirror = image.mirror() if shutil.which("apt-get") else None
    if mirror is None:
        raise BackupError("bench.peer", f"{NAME} comes from Debian's packages, and apt has none")
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYS}] {mirror} {_SUITE} main\n")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
    }
    apt = ("apt-get", *(f"-o{name}={value}" for name, value in options.items()), "-qq")
    _run(*apt, "update")
    wanted = [line.split()[1] for line in _run(*apt, "-s", "install", _PACKAGE).splitlines()]
    libraries = {name for name in wanted if name.startswith("lib") and not name.endswith("-perl")}
    subprocess.run(
        (*apt, "download", _PACKAGE, *sorted(libraries)), cwd=folder, check=True, timeout=600
    )


def _run(*argv: str) -> str:
    return command.run(command.Program(argv, code="bench.peer"))
