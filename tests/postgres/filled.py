"""Fills an archive with a real server's WAL, and has PostgreSQL itself recover from it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from tests.postgres.rebuilding import rebuild, running
from three_backup.catalog.files import Files
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.servers import PostgresServer
from three_backup.sources.postgres.wal.archive import Reached, WalArchive
from three_backup.sources.postgres.wal.names import (
    Piece,
    Segment,
    cut,
    history_name,
    position,
    timeline_of_history,
)

_STATE = """
SELECT clock_timestamp(), pg_walfile_name(pg_current_wal_lsn()),
       (SELECT setting::int FROM pg_settings WHERE name = 'wal_segment_size')
"""


@dataclass
class Archiving:
    """Copies full segments out of a server's pg_wal, each once."""

    server: PostgresServer
    archive: WalArchive
    _done: set[Segment] = field(default_factory=set)

    def catch_up(self, *, note: bool = True, lose: bool = False) -> list[Piece]:
        """Archive what was written so far; return the new pieces, the oldest first.

        note: say how far the archive reaches. lose: store nothing, so that there is a gap.
        """
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            ((at, _, size),) = connection.execute(_STATE)
            ((switched,),) = connection.execute("SELECT pg_switch_wal()::text")
            # The switch may have met a border: what follows is in the next segment in any case.
            ((current,),) = connection.execute(
                "SELECT pg_walfile_name(pg_logical_emit_message(true, 'tests', 'next'))"
            )
        last = Segment.parse(current, size)
        assert last is not None
        new = sorted(self._new(last, size))
        self._done.update(new)
        pieces = [] if lose else [piece for segment in new for piece in self._put(segment, size)]
        self._put_histories()
        if note and not lose:
            reached = Reached(last.timeline, last.start, at.astimezone(UTC), size)
            assert position(switched) <= last.start
            self.archive.note_reached(reached)
        return pieces

    def _new(self, last: Segment, size: int) -> Iterator[Segment]:
        for path in (self.server.pgdata / "pg_wal").iterdir():
            segment = Segment.parse(path.name, size)
            if segment is None or segment in self._done or segment.start >= last.start:
                continue
            yield segment

    def _put(self, segment: Segment, size: int) -> Iterator[Piece]:
        content = (self.server.pgdata / "pg_wal" / segment.name(size)).read_bytes()
        for start, end in cut(segment.start, segment.start + size, size):
            piece = Piece(segment.timeline, start, end)
            self.archive.put(piece, content[start - segment.start : end - segment.start])
            yield piece

    def _put_histories(self) -> None:
        for path in (self.server.pgdata / "pg_wal").glob("*.history"):
            timeline = timeline_of_history(path.name)
            assert timeline is not None
            self.archive.put_history(timeline, path.read_bytes())


@contextmanager
def recovered(
    chain: Sequence[Files],
    archive: WalArchive,
    folder: Path,
    like: PostgresServer,
    until: datetime | None = None,
) -> Iterator[PostgresServer]:
    """Run the cluster that PostgreSQL recovers from a snapshot and all WAL of the archive.

    until: the moment to which it recovers, which must be reached; None: as far as WAL goes.
    """
    folder.mkdir(mode=0o711)
    rebuild(chain, folder)
    wal = folder / "wal"
    wal.mkdir()
    contents = archive.contents()
    size = chain[-1].manifest.facts["wal_segment_size"]
    for piece in contents.pieces:
        assert piece.size == size
        (wal / Segment(piece.timeline, piece.start).name(size)).write_bytes(archive.read(piece))
    for timeline, history in contents.histories.items():
        (wal / history_name(timeline)).write_bytes(history)
    account = unprivileged_account()
    for path in (wal, *wal.iterdir()):
        account.own(path)
    with (folder / "pgdata" / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = 'cp {wal}/%f %p'\n")
        settings.write("recovery_target_timeline = 'latest'\n")
        if until is not None:
            settings.write(f"recovery_target_time = '{until.isoformat()}'\n")
            settings.write("recovery_target_action = 'promote'\n")
    with running(folder, like) as server:
        yield server
