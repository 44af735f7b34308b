"""The demo's folder: a PostgreSQL, a ClickHouse, an S3 server, and a configuration for them.

All of it goes with the folder.
"""

import os
import shlex
import shutil
import signal
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

BUCKET = "backups"
_CONFIGURATION = """\
- "*":
    s3_endpoint: {endpoint}
    s3_bucket: {bucket}
    s3_access_key: {access_key}
    s3_secret_key: {secret_key}
    local_dir: {local}
    base_schedule: 0 3 1 * *
    incremental_schedule: "* * * * *"
- postgres/*:
    pg_bindir: {bindir}
    wal: pull
- postgres/table/shop/public/carts:
    disable: true
"""
_ENVIRONMENT = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")
_CLICKHOUSE_ENVIRONMENT = ("CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD")
_STOP = """\
#!/bin/sh
# Ends the demo that tb-demo --keep left running, and removes its folder.
kill -INT {postgres} && kill {clickhouse} && kill -KILL {seaweed}
while kill -0 {postgres} 2>/dev/null; do sleep 0.1; done
rm -rf {folder}
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """The running servers, and the files that a person needs to work with them."""

    folder: Path
    postgres: PostgresServer
    clickhouse: ClickhouseServer
    seaweed: SeaweedServer

    @property
    def configuration(self) -> Path:
        return self.folder / "three_backup.yaml"

    @property
    def env(self) -> Path:
        """A file for a shell to read: `. FILE`."""
        return self.folder / "env"

    @property
    def local_dir(self) -> Path:
        return self.folder / "local"

    @property
    def stop(self) -> Path:
        return self.folder / "stop"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the tools.

        It lacks PG* and CLICKHOUSE_*: these come from .env beside the configuration.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "CLICKHOUSE_"))
        }
        return {**kept, "PATH": self._path, "THREE_BACKUP_CONFIG": str(self.configuration)}

    def conninfo(self, database: str) -> str:
        return self.postgres.conninfo(database)

    def write_files(self) -> None:
        text = _CONFIGURATION.format(
            endpoint=self.seaweed.endpoint,
            bucket=BUCKET,
            access_key=self.seaweed.access_key,
            secret_key=self.seaweed.secret_key,
            local=self.local_dir,
            bindir=self.postgres.bindir,
        )
        _write_private(self.configuration, text)
        environ = {**self.clickhouse.environ, **self.postgres.environ}
        names = (*_ENVIRONMENT, *_CLICKHOUSE_ENVIRONMENT)
        variables = [f"{name}={shlex.quote(environ[name])}\n" for name in names]
        _write_private(self.folder / ".env", "".join(variables))
        _write_private(
            self.env,
            f"export PATH={shlex.quote(self._path)}\n"
            f"export THREE_BACKUP_CONFIG={shlex.quote(str(self.configuration))}\n"
            f"set -a; . {shlex.quote(str(self.folder / '.env'))}; set +a\n",
        )

    def write_stop(self) -> None:
        text = _STOP.format(
            postgres=self.postgres.pid,
            clickhouse=self.clickhouse.pid,
            seaweed=self.seaweed.pid,
            folder=shlex.quote(str(self.folder)),
        )
        _write_private(self.stop, text)

    @property
    def _path(self) -> str:
        folders = (sysconfig.get_path("scripts"), str(self.clickhouse.bindir))
        return os.pathsep.join((*folders, self.postgres.environ["PATH"]))


@contextmanager
def scene(*, keep: bool) -> Iterator[Scene]:
    """Run the servers in a folder of their own; all is gone afterwards unless it is kept.

    A demo that fails is never kept: nothing would tell how to end it.
    """
    folder = Path(tempfile.mkdtemp(prefix="tb-demo-"))
    folder.chmod(0o711)  # PostgreSQL may run as another user, and has to pass
    kept = False
    try:
        postgres = PostgresServer(folder / "postgres")
        clickhouse = ClickhouseServer(folder / "clickhouse")
        seaweed = SeaweedServer(folder / "s3")
        try:
            postgres.start()
            clickhouse.start()
            seaweed.start()
            seaweed.create_bucket(BUCKET)
            yield Scene(folder, postgres, clickhouse, seaweed)
            kept = keep
        finally:
            if not kept:
                with _uninterrupted():
                    seaweed.stop()
                    clickhouse.stop()
                    postgres.stop("immediate")
    finally:
        if not kept:
            with _uninterrupted():
                shutil.rmtree(folder)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore signals: a second Ctrl-C would leave servers behind."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
