"""A PostgreSQL server to back up, an S3 server to restore from, and the tools compared."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from tests.bench.measure import Cost, size_of
from tests.bench.pgbackrest import NAME, PgBackRest, Repository
from tests.bench.report import say
from tests.bench.tools import BUCKET, Tools
from tests.lab.dialects import certificate_in
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.s3.store import Store

DATABASE = "bench"
_SETTINGS = {
    "archive_mode": "on",
    "archive_command": "true",
    "autovacuum": "off",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "max_locks_per_transaction": "1024",
}


class Cluster:
    """The two servers, and one method for each tool that is compared."""

    def __init__(
        self, folder: Path, server: PostgresServer, s3: SeaweedServer, certificate: Path
    ) -> None:
        self.folder = folder
        self.server = server
        self._s3 = s3
        self.tools = Tools(folder, s3, (server.pid,), server.environ, pg_bindir=server.bindir)
        self._certificate = certificate
        self.peer: PgBackRest | None = None  # None where pgBackRest cannot be had
        self._streamed = folder / "pg_basebackup"
        self._streamed.mkdir()

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.server.conninfo(DATABASE), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def shell(self, line: str) -> None:
        subprocess.run(("/bin/sh", "-c", line), env=self.tools.environ, check=True)

    def size(self) -> int:
        return size_of(self.server.pgdata / "base")

    def table_size(self, table: str) -> int:
        """Return the bytes of the table with its indexes."""
        with psycopg.connect(self.server.conninfo(DATABASE)) as connection:
            query = f"select pg_total_relation_size('{table}')"
            ((size,),) = connection.execute(query.encode())
        return int(size)

    def find_peer(self, in_s3: bool = False) -> None:
        """Set up pgBackRest, or say why it is skipped.

        in_s3: keep its repository in S3, not beside the server.
        """
        try:
            self.peer = PgBackRest(
                self.folder / "peer", self.server, self._repository if in_s3 else None
            )
        except BackupError as error:
            say(f"\nSkipped: {NAME}: {error}")
        else:
            self.peer.cost("stanza-create")

    def ours(self, options: str, tools: Tools | None = None) -> Cost:
        """Take a snapshot of the whole cluster, as cron would.

        tools: tools to use instead of the usual ones, configured differently.
        """
        line = f"tb-discover -s postgres | tb-snapshot {options}"
        cost = (tools or self.tools).cost(line)
        snapshot = json.loads(cost.output.splitlines()[0])["snapshot"]
        return cost.of_size(snapshot["stored_size"])

    def tools_with(self, **options: object) -> Tools:
        """Return tools with these extra options, and with snapshots of their own."""
        folder = self.folder / "-".join(options)
        folder.mkdir()
        server, s3 = self.server, self._s3
        return Tools(folder, s3, (server.pid,), server.environ, pg_bindir=server.bindir, **options)

    def theirs(self, kind: str, level: int = 3) -> Cost:
        """Take a backup with pgBackRest. The server archives its log only while that runs, since
        only pgBackRest needs it.

        kind: full or incr; level: the level of zstd.
        """
        assert self.peer is not None
        with self._archiving(self.peer.archives):
            cost = self.peer.cost(f"backup --type={kind} --compress-level={level}")
        return cost.of_size(self.peer.size())

    def streamed(self) -> Cost:
        line = f"pg_basebackup -c fast -Ft -X fetch -D - | zstd -q -T0 -3 > {self._tar}"
        return self._tarred(line)

    def streamed_increment(self) -> Cost:
        """Stream an increment on top of what was streamed last."""
        manifest = f"--incremental={self._streamed}/backup_manifest"
        line = f"pg_basebackup -c fast -Ft -X fetch {manifest} -D - | zstd -q -T0 -3 > {self._tar}"
        return self._tarred(line)

    def plain(self, parent: bool) -> Cost:
        """Run pg_basebackup into a folder; parent: as an increment of the one before."""
        new, old = self._streamed / "new", self._streamed / "old"
        if new.exists():
            shutil.rmtree(old, ignore_errors=True)
            new.rename(old)
        on_top = f"--incremental={old}/backup_manifest" if parent else ""
        cost = self.tools.cost(f"pg_basebackup -c fast -X fetch {on_top} -D {new}")
        return cost.of_size(size_of(new))

    def tools_by_tls(self, **options: object) -> Tools:
        """Return tools that reach the bucket by TLS, as pgBackRest does."""
        secure = self._s3.secure_endpoint
        return self.tools_with(s3_endpoint=secure, s3_ca_file=self._certificate, **options)

    def store(self, prefix: str = "") -> Store:
        """Return what lies below a prefix of the bucket."""
        storage = Storage(self.folder, self._s3.endpoint, BUCKET, prefix)
        access, secret = self._s3.access_key, self._s3.secret_key
        return Store(replace(storage, access_key=access, secret_key=secret))

    @property
    def _repository(self) -> Repository:
        s3 = self._s3
        endpoint = s3.secure_endpoint.removeprefix("https://")
        return Repository(BUCKET, endpoint, s3.access_key, s3.secret_key, self._certificate)

    @property
    def _tar(self) -> Path:
        return self._streamed / "tar.zst"

    def _tarred(self, line: str) -> Cost:
        cost = self.tools.cost(line)
        self.shell(f"zstd -qdc {self._tar} | tar -xf - -C {self._streamed} backup_manifest")
        return cost.of_size(self._tar.stat().st_size)

    @contextmanager
    def _archiving(self, command: str) -> Iterator[None]:
        self.execute(f"alter system set archive_command = '{command}'", "select pg_reload_conf()")
        try:
            yield
        finally:
            self.execute("alter system set archive_command = 'true'", "select pg_reload_conf()")


@contextmanager
def cluster(folder: Path, version: int = 17) -> Iterator[Cluster]:
    certificate = certificate_in(folder)
    with (
        PostgresServer(folder / "pg", version, _SETTINGS) as server,
        SeaweedServer(folder / "s3", certificate) as s3,
    ):
        s3.create_bucket(BUCKET)
        made = Cluster(folder, server, s3, certificate[0])
        made.shell(f"createdb {DATABASE}")
        yield made


def fill(made: Cluster, accounts: int, documents: int) -> None:
    """Fill the database.

    accounts: rows of pgbench, in hundred thousands; documents: rows that look like JSON.
    """
    made.shell(f"pgbench -i -q -s {accounts} {DATABASE} 2>&1 | tail -1 >&2")
    made.execute(
        "create table documents as select i as id, format("
        '\'{"id": %s, "name": "%s", "tags": ["%s", "%s"], "price": %s}\', i, '
        "md5(i::text), i % 97, i % 89, i % 10007) as body "
        f"from generate_series(1, {documents}) i",
        "create table small as select i, md5(i::text) from generate_series(1, 5000) i",
        "vacuum",
        "checkpoint",
    )
