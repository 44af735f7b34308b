"""A host with a configuration and a shell: tests run the tools as an administrator does."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Self

import jsonschema
import psycopg
import pytest
from psycopg import sql

from tests.lab.forked import Forked
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.model import records
from three_backup.model.storage import Storage
from three_backup.s3.store import Store

SCHEMA = jsonschema.Draft202012Validator(
    json.loads(Path(records.__file__).with_name("record.schema.json").read_text())
)
NEVER_AGAIN = {"base_schedule": "0 0 29 2 *", "incremental_schedule": "0 0 29 2 *"}
"""Due on 29 February only: at whatever hour tests run, no object is due again after a snapshot."""
_NUMBERS = count(1)
BIN = Path(__file__).parents[2] / "bin"
_RUNNING = ("ps", "-eo", "pid,ppid,etimes,stat,args")
_PATIENCE = 300
_LAST_WORDS = 5
"""Seconds for a command line, and for it to tell where it is when it has taken longer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    stdout: str
    stderr: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records on standard output, each validated against the published schema."""
        found = [json.loads(line) for line in self.stdout.splitlines()]
        for record in found:
            SCHEMA.validate(record)
        return found


class Host:
    """A host with a database, a bucket and a configuration of its own."""

    def __init__(
        self,
        folder: Path,
        database: str,
        server: PostgresServer,
        s3: SeaweedServer,
        bucket: str,
        tools: Forked,
    ) -> None:
        self.folder = folder
        self.local_dir = folder / "local"
        self.config = folder / "three_backup.yaml"
        self.database = database
        self.server = server
        self.s3 = s3
        self.bucket = bucket
        self.tools = tools
        self._is_real = False
        programs = (tools.bindir, BIN, Path(sys.executable).parent, server.bindir)
        self.environ = {
            **server.environ,
            "PATH": os.pathsep.join((*map(str, programs), os.environ["PATH"])),
            "PYTHONPATH": str(BIN.parent),
            "HOME": str(folder),
            "THREE_BACKUP_CONFIG": str(self.config),
        }
        self.configure()

    @property
    def real(self) -> Self:
        """The same host, with the programs of bin/ instead of forked tools (lab/forked.py)."""
        other = copy(self)
        path = self.environ["PATH"].replace(f"{self.tools.bindir}{os.pathsep}", "")
        other.environ, other._is_real = {**self.environ, "PATH": path}, True
        return other

    def configure(self, sections: str = "", **everything: object) -> None:
        """Write the configuration: sections, then options of "*"; None leaves an option out."""
        options = {
            "s3_endpoint": self.s3.endpoint,
            "s3_bucket": self.bucket,
            "s3_prefix": "host",
            "s3_access_key": self.s3.access_key,
            "s3_secret_key": self.s3.secret_key,
            "local_dir": self.local_dir,
            "pg_bindir": self.server.bindir,
            **NEVER_AGAIN,
            **everything,
        }
        lines = [f"    {name}: {value}" for name, value in options.items() if value is not None]
        self.config.write_text(f'{sections}\n- "*":\n' + "\n".join(lines) + "\n")
        self.config.chmod(0o600)

    def sh(
        self, command: str, stdin: str = "", environ: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run a command line in /bin/sh. One that does not end tells where it is."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environ, **(environ or {})},
            cwd=self.folder,
            text=True,
        )
        try:
            stdout, stderr = process.communicate(stdin, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self.tools.tell_where_they_are()
            stderr = _said_within(process, _LAST_WORDS)
            running = subprocess.run(
                ("ps", "-eo", "pid,ppid,etimes,stat,args"), capture_output=True
            )
            pytest.fail(f"{command}: it does not end\n{stderr}\n{running.stdout.decode()}")
        return Outcome(process.returncode, stdout, stderr)

    def tool(self, *argv: str, stdin: str = "") -> Outcome:
        if self._is_real:
            return self.sh(shlex.join(argv), stdin)
        return Outcome(*self.tools.run(self.folder, self.environ, argv, stdin))

    def good(self, command: str, stdin: str = "") -> Outcome:
        """Run a command line that must succeed; if it prints records, check them."""
        outcome = self.sh(command, stdin)
        assert outcome.status == 0, outcome.stderr + outcome.stdout
        assert not outcome.stdout.startswith("{") or outcome.records
        return outcome

    def execute(self, statement: str, database: str | None = None) -> None:
        with self.connect(database) as connection:
            connection.execute(statement.encode())

    def rows(self, query: str, database: str | None = None) -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            return connection.execute(query.encode()).fetchall()

    def connect(self, database: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        conninfo = self.server.conninfo(database or self.database)
        return psycopg.connect(conninfo, autocommit=True)

    def table(self, name: str, schema: str = "public") -> str:
        return f"postgres/table/{self.database}/{schema}/{name}"

    def wipe(self) -> None:
        """Delete local_dir, as if the host were lost: only S3 is left."""
        shutil.rmtree(self.local_dir, ignore_errors=True)


def _said_within(process: "subprocess.Popen[str]", seconds: float) -> str:
    """Kill the process, and return what it and those it waited for have said."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired as expired:
        process.kill()
        return (expired.stderr or b"").decode(errors="replace")


def store(host: Host, prefix: str = "host") -> Store:
    """Return the store of the host's bucket below the prefix."""
    s3 = host.s3
    storage = Storage(host.local_dir, s3.endpoint, host.bucket, prefix)
    return Store(replace(storage, access_key=s3.access_key, secret_key=s3.secret_key))


@pytest.fixture
def host(
    request: pytest.FixtureRequest,
    server_folder: Path,
    seaweed: SeaweedServer,
    bucket: str,
    tools: Forked,
) -> Iterator[Host]:
    """A host with PostgreSQL 17, or with the server fixture that the test's parameter names."""
    server = request.getfixturevalue(getattr(request, "param", "postgres17"))
    with host_beside(server_folder, server, seaweed, bucket, tools) as made:
        yield made


@pytest.fixture(scope="module")
def host_of_module(
    server_folder: Path, postgres17: PostgresServer, seaweed: SeaweedServer, tools: Forked
) -> Iterator[Host]:
    """A host that the tests of a module share, mostly tests that only look."""
    bucket = f"looked-at-{next(_NUMBERS)}"
    seaweed.create_bucket(bucket)
    with host_beside(server_folder, postgres17, seaweed, bucket, tools) as made:
        yield made
    seaweed.delete_bucket(bucket)


@contextmanager
def host_beside(
    server_folder: Path,
    server: PostgresServer,
    seaweed: SeaweedServer,
    bucket: str,
    tools: Forked,
) -> Iterator[Host]:
    folder = server_folder / bucket
    folder.mkdir(mode=0o711)
    database = f"shop_{bucket.replace('-', '_')}"
    _administrate(server, sql.SQL("create database {}").format(sql.Identifier(database)))
    yield Host(folder, database, server, seaweed, bucket, tools)
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(_DROP_SLOTS)
        left = connection.execute(
            "select datname from pg_database where datname like %s", (f"{database}%",)
        ).fetchall()
    for (name,) in left:
        _administrate(
            server, sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
        )
    shutil.rmtree(folder)


_DROP_SLOTS = """
select pg_drop_replication_slot(slot_name) from pg_replication_slots
where not active and slot_name like 'three_backup%'
"""
both_versions = pytest.mark.parametrize("host", ["postgres17", "postgres18"], indirect=True)


def _administrate(server: PostgresServer, statement: sql.Composed) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(statement)
