"""Servers whose WAL is archived, and the server's own files to compare the archive with."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run as run_program
from typing import Self

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
_BIN = Path(__file__).parents[2] / "bin"


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


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Relay:
    """Runs tb-wal for servers: their account may not be able to run our Python.

    `command` is a program for them; the tool works in the folder in which they call it.
    """

    def __init__(self, folder: Path, storage: Storage, **options: object) -> None:
        folder.mkdir()
        folder.chmod(0o777)  # the account of servers asks here
        self.command = folder / "tb-wal"
        self.said: list[str] = []
        self.calls: list[tuple[str, int]] = []  # the arguments, and how the tool ended
        self._folder, self._configuration = folder, folder / "three_backup.yaml"
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.configure(storage, **options)
        self.command.write_text(
            f"#!/bin/sh\ncd -P . && ask={folder}/$$\n"
            'printf "%s\\n" "$PWD" "$@" > $ask.new && mv $ask.new $ask.asked\n'
            "while [ ! -e $ask.answer ]; do sleep 0.02; done\n"
            "read status < $ask.answer; rm $ask.answer; exit $status\n"
        )
        self.command.chmod(0o755)

    def configure(self, storage: Storage, **options: object) -> None:
        options = {
            "s3_endpoint": storage.endpoint,
            "s3_bucket": storage.bucket,
            "s3_prefix": storage.prefix,
            "s3_access_key": storage.access_key,
            "s3_secret_key": storage.secret_key,
            "local_dir": storage.local_dir,
            "s3_timeout": "2s",
            **options,
        }
        lines = "".join(f"    {name}: {value}\n" for name, value in options.items())
        self._configuration.write_text(f'- "*":\n{lines}')
        self._configuration.chmod(0o600)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ends.set()
        self._thread.join()

    def run(self, folder: Path | str, *arguments: str) -> int:
        """Run the tool in a folder; return its exit status."""
        ended = run_program(
            (sys.executable, _BIN / "tb-wal", *arguments, f"--config={self._configuration}"),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_BIN.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.said.append(ended.stdout + ended.stderr)
        self.calls.append((" ".join(arguments), ended.returncode))
        return ended.returncode

    def _serve(self) -> None:
        while not self._ends.wait(0.02):
            for asked in self._folder.glob("*.asked"):
                folder, *arguments = asked.read_text().splitlines()
                asked.unlink()
                status = self.run(folder, *arguments)
                if arguments[0] == "fetch" and (path := Path(folder, arguments[2])).exists():
                    unprivileged_account().own(path)
                answer = asked.with_suffix(".new")
                answer.write_text(f"{status}\n")
                answer.chmod(0o666)
                answer.rename(asked.with_suffix(".answer"))


def dumped(server: PostgresServer, pg_wal: Path, start: str, end: str) -> str:
    """Return what pg_waldump reads from start to end."""
    argv = (server.bindir / "pg_waldump", "-p", pg_wal, "-s", start, "-e", end)
    return run_program(argv, capture_output=True, text=True, check=True).stdout


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
