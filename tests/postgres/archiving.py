"""Servers whose WAL is archived, and the server's own files to compare the archive with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run as run_program

from tests.lab.fault_proxy import Answer, Forward, Request
from three_backup.catalog.catalog import Catalog
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.model.objects import Carrier
from three_backup.model.storage import Storage
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.coverage import Stretch, stretches
from three_backup.sources.postgres.wal.names import Piece, Segment, position
from three_backup.sources.postgres.wal.pull import Pulled, pull
from three_backup.sources.postgres.wal.slot import slot_name
from three_backup.sources.postgres.wal.timelines import way_to

from .taking import ask, carrier_of_server, run

MB = 1 << 20


@dataclass
class Archiving:
    """Archives the server that `PG*` lead to in a bucket."""

    storage: Storage
    said: list[str] = field(default_factory=list)

    @property
    def slot(self) -> str:
        return slot_name(self.storage)

    def pull(self) -> Pulled:
        return pull(Catalog(self.storage), 1, lambda _: None, self.said.append)

    def archive(self, carrier: Carrier | None = None) -> WalArchive:
        return WalArchive(Catalog(self.storage).bucket, carrier or carrier_of_server())


@dataclass
class CutOff:
    """A meddler of the proxy: from the n-th request on S3 answers nothing more."""

    number: int  # counted from 1
    carried_out: bool  # whether that request is
    seen: int = 0

    def __call__(self, request: Request, forward: Forward) -> Answer:
        self.seen += 1
        if self.seen < self.number:
            return forward()
        if self.seen == self.number and self.carried_out:
            forward()
        return Answer(0, {}, b"")


def storage_in(seaweed: SeaweedServer, bucket: str, folder: Path, prefix: str = "host") -> Storage:
    return Storage(
        folder,
        seaweed.endpoint,
        bucket,
        prefix,
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
    )


def archived(archive: WalArchive, timeline: int = 1) -> tuple[int, bytes]:
    """Return where the newest stretch of a timeline begins, and its WAL."""
    content, start = bytearray(), 0
    for piece in archive.pieces(timeline):
        if piece.start > start + len(content):
            content, start = bytearray(), piece.start
        content[piece.start - start :] = archive.read(piece)
    return start, bytes(content)


def differing(archive: WalArchive, pg_wal: Path, timeline: int, segment_size: int) -> list[Piece]:
    """Return the pieces whose WAL is not that of the server's own files. Some must be there."""
    compared, found = 0, []
    for piece in archive.pieces(timeline):
        start = piece.start // segment_size * segment_size
        file = pg_wal / Segment(timeline, start).name(segment_size)
        if file.exists():
            compared += 1
            if file.read_bytes()[piece.start - start :][: piece.size] != archive.read(piece):
                found.append(piece)
    assert compared
    return found


def covered(archive: WalArchive, timeline: int = 1) -> list[Stretch]:
    return stretches(archive.pieces(), way_to(timeline, archive.histories()))


def flushed(server: PostgresServer) -> int:
    return position(ask(server, "postgres", "SELECT pg_current_wal_flush_lsn()"))


def write(server: PostgresServer, size: int = 2 * MB) -> None:
    """Have the server log about so many bytes that hardly compress, durably."""
    emitted = (
        "SELECT pg_logical_emit_message(true, 'x', string_agg(gen_random_uuid()::text, ''))"
        " FROM generate_series(1, 14500)"
    )
    for _ in range(max(1, size // (MB // 2))):
        run(server, "postgres", emitted)


def switch(server: PostgresServer) -> None:
    """Begin a new segment."""
    run(server, "postgres", "SELECT pg_switch_wal()")


def forget(server: PostgresServer) -> None:
    """Have the server remove all WAL that nothing keeps."""
    for _ in range(3):
        switch(server)
        run(server, "postgres", "CHECKPOINT")


@contextmanager
def standby_of(
    primary: PostgresServer, folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A standby that streams from the primary."""
    standby = copied(primary, folder, ("--write-recovery-conf",), settings)
    with standby:
        yield standby


def copied(
    server: PostgresServer,
    folder: Path,
    options: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> PostgresServer:
    """Return a copy of the server, made by pg_basebackup, that is not started."""
    copy = PostgresServer(folder, server.version)
    target = server.folder / f"copy-{folder.name}"
    argv = (str(server.bindir / "pg_basebackup"), "-D", str(target), "-c", "fast", *options)
    account = unprivileged_account()
    account.run(argv, server.folder, {**server.environ, "HOME": str(server.folder)})
    target.rename(copy.pgdata)
    lines = {
        "port": str(copy.port),
        "unix_socket_directories": str(copy.folder),
        **(settings or {}),
    }
    with (copy.pgdata / "postgresql.conf").open("a") as configuration:
        configuration.writelines(f"{name} = '{value}'\n" for name, value in lines.items())
    return copy


def dump_of(server: PostgresServer, pg_wal: Path, start: str, end: str) -> str:
    """Return what pg_waldump reads from start to end."""
    argv = (server.bindir / "pg_waldump", "-p", pg_wal, "-s", start, "-e", end)
    return run_program(argv, capture_output=True, text=True, check=True).stdout
