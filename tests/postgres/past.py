"""A server whose past is known: its WAL is archived, and what its tables held at many moments."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from three_backup.catalog.files import Files
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.model.moment import Moment
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.storage import Storage
from three_backup.s3.store import Store
from three_backup.sources.jobs import Landing, MomentJob, RestoreJob, Say, Wanted
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.wal.archive import Reached, WalArchive
from three_backup.sources.postgres.wal.names import Piece, Segment, cut, position

from .taking import EVERYWHERE, Taking

_APART = 0.02
"""Seconds on each side of a moment in which nothing is committed."""


def silent(sentence: str) -> None:
    """Let nobody hear it."""


@dataclass
class Past:
    """A server, its snapshots and its archive; a moment of each name that was marked."""

    server: PostgresServer
    store: Store
    taking: Taking
    work: Path
    chain: list[Files] = field(default_factory=list)
    moments: dict[str, datetime] = field(default_factory=dict)
    held: dict[tuple[str, ObjectId], list[tuple[Any, ...]]] = field(default_factory=dict)

    @property
    def carrier(self) -> Carrier:
        return self.chain[0].manifest.carrier

    def execute(self, *statements: str, database: str = "shop") -> None:
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def connect(self, database: str = "shop") -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.server.conninfo(database), autocommit=True)

    def mark(self, name: str, *objects: ObjectId) -> datetime:
        """Note the moment, and what the objects hold."""
        time.sleep(_APART)
        with self.connect() as connection:
            ((now,),) = connection.execute("SELECT clock_timestamp()")
        self.moments[name] = now.astimezone(UTC)
        for object_id in objects:
            self.held[name, object_id] = contents(self.server, object_id)
        time.sleep(_APART)
        return self.moments[name]

    def snapshot(self, *, base: bool = False) -> Files:
        """Take a snapshot that builds on the last one, if there is one and it is no base."""
        parent = self.chain[-1] if self.chain and not base else None
        self.chain.append(self.taking.take(parent))
        return self.chain[-1]

    def archive(self, *, all_of_it: bool = True) -> WalArchive:
        """Store all WAL that the server still has, as it has it."""
        archive = WalArchive(self.store, self.carrier)
        with self.connect() as connection:
            ((now, flushed, timeline),) = connection.execute(
                "SELECT clock_timestamp(), pg_current_wal_flush_lsn()::text,"
                " (SELECT timeline_id FROM pg_control_checkpoint())"
            )
        size = int(self.chain[0].manifest.facts["wal_segment_size"])
        end = position(flushed)
        for path in sorted((self.server.pgdata / "pg_wal").iterdir()):
            if path.name.endswith(".history"):
                archive.put_history(int(path.name[:8], 16), path.read_bytes())
            segment = Segment.parse(path.name, size)
            if segment is None or segment.start >= end:
                continue
            body = path.read_bytes()
            for start, stop in cut(segment.start, min(segment.start + size, end), size):
                at = start - segment.start
                archive.put(Piece(segment.timeline, start, stop), body[at : at + stop - start])
        archive.note_reached(Reached(timeline, end, now, size))
        return archive

    def job(
        self,
        landing: Landing | None,
        *wanted: Wanted,
        overwrite: bool = False,
        say: Say = silent,
    ) -> RestoreJob:
        ids = [files.manifest.snapshot for files in self.chain]
        end = len(ids) if landing is None else ids.index(landing.snapshot) + 1
        base = max(number for number in range(end) if ids[number].parent is None)
        return RestoreJob(
            wanted=wanted,
            chain=self.chain[base:end],
            overwrite=overwrite,
            source_settings=EVERYWHERE,
            work_dir=self.work,
            advance=lambda size: None,
            say=say,
            landing=landing,
            store=self.store,
        )

    def find(self, moment: Moment) -> MomentJob:
        return MomentJob(
            carrier=self.carrier,
            store=self.store,
            manifests=[files.manifest for files in self.chain],
            moment=moment,
            revive=self.job,
        )


def contents(server: PostgresServer, object_id: ObjectId) -> list[tuple[Any, ...]]:
    name = f"{quoted(object_id.level2)}.{quoted(object_id.level3)}"
    with psycopg.connect(server.conninfo(object_id.level1)) as connection:
        query = f"SELECT t::text FROM {name} t ORDER BY 1".encode()
        return connection.execute(query).fetchall()


@contextmanager
def past(
    folder: Path,
    version: int,
    s3: SeaweedServer,
    bucket: str,
    settings: dict[str, str] | None = None,
    initdb: Sequence[str] = (),
) -> Iterator[Past]:
    """Run a server of its own whose WAL is never removed; `PG*` lead to it."""
    storage = Storage(
        folder / "local",
        endpoint=s3.endpoint,
        bucket=bucket,
        prefix="host",
        access_key=s3.access_key,
        secret_key=s3.secret_key,
    )
    kept = {"wal_keep_size": "4GB", "max_prepared_transactions": "5", **(settings or {})}
    snapshots, work = folder / "snapshots", folder / "work"
    for path in (snapshots, work):
        path.mkdir(mode=0o711)
    with (
        PostgresServer(folder / "server", version, kept, initdb=initdb) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in server.environ.items():
            environment.setenv(name, value)
        assert os.environ["PGHOST"] == str(server.folder)
        yield Past(server, Store(storage), Taking(snapshots), work)
