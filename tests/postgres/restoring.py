"""Restores snapshots of a test's server and looks at what came back."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from tests.postgres.taking import EVERYWHERE
from three_backup.config.settings import Settings
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Planned, Restored
from three_backup.sources.jobs import Advance, RestoreJob, SnapshotFiles, Wanted
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.source import PostgresSource


@dataclass(frozen=True)
class Restoring:
    """Restores into the server that `PG*` names."""

    folder: Path  # for scratch servers
    said: list[str] = field(default_factory=list)  # every sentence meant for people

    def all(
        self, chain: Sequence[SnapshotFiles], *wanted: Wanted, **options: Any
    ) -> dict[ObjectId, Restored | BackupError]:
        """Return the outcomes by the ids of the targets; check that the folder is left empty."""
        try:
            job = self.job(chain, *wanted, **options)
            return {
                requested.target: outcome for requested, outcome in PostgresSource().restore(job)
            }
        finally:
            assert list(self.folder.iterdir()) == []

    def plans(
        self, chain: Sequence[SnapshotFiles], *wanted: Wanted, **options: Any
    ) -> dict[ObjectId, Planned | BackupError]:
        """Return the plans by the ids of the targets; check that the folder is left empty."""
        job = self.job(chain, *wanted, **options)
        outcomes = {requested.target: outcome for requested, outcome in PostgresSource().plan(job)}
        assert list(self.folder.iterdir()) == []
        return outcomes

    def job(
        self,
        chain: Sequence[SnapshotFiles],
        *wanted: Wanted,
        overwrite: bool = False,
        settings: Settings = EVERYWHERE,
        advance: Advance = lambda size: None,
        **options: Any,
    ) -> RestoreJob:
        return RestoreJob(
            wanted=wanted,
            chain=chain,
            overwrite=overwrite,
            source_settings=settings,
            work_dir=self.folder,
            advance=advance,
            say=self.said.append,
            options=options,
        )

    def one(self, chain: Sequence[SnapshotFiles], wanted: Wanted, **options: Any) -> Restored:
        """Restore one object; raise its BackupError if it fails."""
        (outcome,) = self.all(chain, wanted, **options).values()
        if isinstance(outcome, BackupError):
            raise outcome
        return outcome


def table(database: str, name: str, schema: str = "public") -> ObjectId:
    return ObjectId("postgres", "table", database, schema, name)


def view(database: str, name: str, schema: str = "public") -> ObjectId:
    return ObjectId("postgres", "view", database, schema, name)


def in_place(object_id: ObjectId) -> Wanted:
    return Wanted(object_id, object_id)


def beside(object_id: ObjectId, **levels: str) -> Wanted:
    return Wanted(object_id, replace(object_id, **levels))


@contextmanager
def session(server: PostgresServer, database: str) -> "Iterator[psycopg.Connection[Any]]":
    with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
        yield connection


def rows(server: PostgresServer, object_id: ObjectId) -> list[tuple[Any, ...]]:
    """Return all rows of a table or view as text, sorted."""
    name = f"{quoted(object_id.level2)}.{quoted(object_id.level3)}"
    with session(server, object_id.level1) as connection:
        return connection.execute(f"SELECT t::text FROM {name} t ORDER BY 1".encode()).fetchall()


def definitions(server: PostgresServer, database: str) -> list[str]:
    """Return the lines of pg_dump's schema of the whole database."""
    argv = (
        server.bindir / "pg_dump",
        "--schema-only",
        "--no-tablespaces",
        "--restrict-key=none",
        f"--dbname={server.conninfo(database)}",
    )
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()


def inhabitants(server: PostgresServer, database: str) -> set[tuple[str, ...]]:
    """Return every schema, relation, type, function and extension: kind, oid and name."""
    query = """
        SELECT 'schema', oid::text, nspname FROM pg_namespace WHERE nspname !~ '^pg_temp'
        UNION ALL SELECT 'relation', oid::text, oid::regclass::text
          FROM pg_class WHERE oid >= 16384
        UNION ALL SELECT 'type', oid::text, oid::regtype::text FROM pg_type WHERE oid >= 16384
        UNION ALL SELECT 'function', oid::text, proname FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT 'extension', oid::text, extname FROM pg_extension"""
    with session(server, database) as connection:
        return set(connection.execute(query))


def indexes(server: PostgresServer, object_id: ObjectId) -> list[str]:
    query = "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND tablename = %s ORDER BY 1"
    with session(server, object_id.level1) as connection:
        found = connection.execute(query, (object_id.level2, object_id.level3))
        return [name for (name,) in found]
