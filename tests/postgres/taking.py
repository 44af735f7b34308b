"""Takes snapshots of a live server and lays them out for tests."""

import struct
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg

from three_backup.catalog.files import Files
from three_backup.config.settings import Settings
from three_backup.demo.servers import PostgresServer
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage
from three_backup.sources.jobs import FolderJob
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.chain.reading import batches, read_ahead
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.index import BACKUP_MANIFEST, INDEX, File, Form, Index
from three_backup.sources.postgres.pack import decompress_file
from three_backup.sources.postgres.preflight import read_cluster
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.taking.split import server_path

NOWHERE = Storage(Path("/nowhere"))
EVERYWHERE = Settings(NOWHERE)
LOCAL = Settings(NOWHERE, max_stage=Stage.SNAPSHOT_INCREMENTAL)
DISABLED = Settings(NOWHERE, disable=True)
MIDWAY = 1 << 20


class Taking:
    """Takes snapshots into a folder; by their ids, an hour lies between two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[ObjectId, Settings] = {}  # of objects that are not EVERYWHERE
        self.said: list[str] = []  # every sentence meant for people
        self.moved = self.expected = 0  # bytes of all snapshots
        self.carrier: Carrier | None = None  # None: that of the server
        self._hours = count()

    def take(
        self,
        parent: Files | None = None,
        meanwhile: Callable[[], None] | None = None,
        midway: Callable[[], None] | None = None,
        idle: Callable[[], None] | None = None,
    ) -> Files:
        """Take a snapshot; an incremental if there is a parent.

        meanwhile is called once when the stream has begun, midway once after a megabyte of it,
        and idle whenever nothing came for a while.
        """
        begun = self.moved
        waiting = [(1, meanwhile), (MIDWAY, midway)]

        def advance(size: int) -> None:
            self.moved += size
            if size == 0 and idle is not None:
                idle()
            while waiting and self.moved - begun >= waiting[0][0]:
                _, happens = waiting.pop(0)
                if happens is not None:
                    happens()

        time = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=next(self._hours))
        snapshot = SnapshotId(time, None if parent is None else parent.manifest.snapshot.time)
        directory = self.folder / str(snapshot)
        directory.mkdir()
        job = FolderJob(
            carrier=self.carrier or carrier_of_server(),
            snapshot=snapshot,
            parent=parent,
            directory=directory,
            settings=lambda object_id: self.settings.get(object_id, EVERYWHERE),
            source_settings=EVERYWHERE,
            program="three_backup test",
            host="here",
            advance=advance,
            say=self.said.append,
            expect=self._expect,
        )
        manifest = PostgresSource().take(job)
        body = manifest.to_json()
        return Files(Manifest.from_json(body, "test"), directory, None, None)

    def _expect(self, size: int) -> None:
        self.expected += size


def carrier_of_server() -> Carrier:
    with connect() as connection:
        return read_cluster(connection).carrier


def index_of(snapshot: Files) -> Index:
    return index_file.load(snapshot.read(INDEX), "test")


def contents(snapshot: Files, files: Sequence[File]) -> dict[str, bytes]:
    """Return the stored bytes of the files, by path."""
    found = {file.path: bytearray(file.size) for file in files}
    for pieces in read_ahead(batches(snapshot, index_of(snapshot).groups, files)):
        for file, offset, piece in pieces:
            found[file.path][offset : offset + len(piece)] = piece
    return {path: bytes(body) for path, body in found.items()}


def combined(chain: Sequence[Files], server: PostgresServer, folder: Path) -> Path:
    """Combine the chain into a data directory with PostgreSQL's own programs, and verify it."""
    output = folder / "combined"
    run_program(server, "pg_combinebackup", "-o", output, *laid_out(chain, folder))
    run_program(server, "pg_verifybackup", output)
    return output


def laid_out(chain: Sequence[Files], folder: Path) -> list[Path]:
    """Make a folder of each link as the server sent it, for pg_combinebackup."""
    made: list[Path] = []
    for snapshot in chain:
        target = folder / str(snapshot.manifest.snapshot)
        _lay_out(snapshot, target, made[-1] if made else None)
        made.append(target)
    for target in made:
        (target / "tablespace_map").unlink()  # the tablespaces are laid out in place
    return made


def run(server: PostgresServer, database: str, *statements: str) -> None:
    with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def ask(server: PostgresServer, database: str, query: str) -> str:
    """Return the query's only value as text."""
    with psycopg.connect(server.conninfo(database)) as connection:
        ((value,),) = connection.execute(query.encode())
        return str(value)


def table(database: str, name: str) -> ObjectId:
    return ObjectId("postgres", "table", database, "public", name)


def _lay_out(snapshot: Files, target: Path, before: Path | None) -> None:
    index = index_of(snapshot)
    for directory in ("", *index.directories):
        (target / directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    files = list(index.files.values())
    for path, body in contents(snapshot, files).items():
        file = index.files[path]
        destination = target / server_path(file)
        if file.form is Form.UNCHANGED:
            body = struct.pack("<III", 0xD3AE1F0D, 0, file.blocks)
        elif file.form is Form.SAME:
            assert before is not None
            body = (before / path).read_bytes()
        if file.form is not Form.LEFT_OUT:
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(body)
    manifest = decompress_file(snapshot.read(BACKUP_MANIFEST))
    (target / "backup_manifest").write_bytes(manifest)


def run_program(server: PostgresServer, program: str, *arguments: str | Path) -> None:
    ended = subprocess.run((server.bindir / program, *arguments), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
