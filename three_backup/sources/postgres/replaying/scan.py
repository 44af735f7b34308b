"""Reads archived WAL for what was dropped, with PostgreSQL's own pg_waldump."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from three_backup.command import stream
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.binaries import Binaries, worker
from three_backup.sources.postgres.scratch.folder import acting_as
from three_backup.sources.postgres.wal.assembly import Assembly
from three_backup.sources.postgres.wal.names import Segment, lsn, position
from three_backup.sources.postgres.wal.timelines import Way

_AT_ONCE = 8
"""Segments that lie on disk at once."""

_RECORD = re.compile(
    r"rmgr: (?P<rmgr>\w+) .*?tx: +(?P<xid>\d+), lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), .*?"
    r"desc: (?P<what>\w+) (?P<rest>.*)",
    re.ASCII | re.DOTALL,
)
_COMMIT = re.compile(r"(?:\d+: )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC(.*)", re.DOTALL)
_RELATION = re.compile(r" 2/(\d+)/(\d+)")
_DROPPED_STATS = re.compile(r"; dropped stats:((?: \d+/\d+/\d+)+)")
_FILES = re.compile(r"; rels:((?: [^\s;]+)+)")
_INVALIDATED = re.compile(r"\brelcache (\d+)")
_DROPPED_DATABASE = re.compile(r"DROP dir \d+/(\d+)")
_COMMITS = ("COMMIT", "COMMIT_PREPARED")
# It ends with an error where WAL does.
_ENDS_OF_WAL = ("error in WAL record at", "could not find a valid record after")
_PG_DATABASE = "rel 1664/0/1262 "


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit of a transaction that dropped something, or changed definitions."""

    position: int
    at: datetime  # aware UTC
    dropped: frozenset[tuple[int, int]]  # relations but views, as (database, oid)
    files: frozenset[str]  # the paths of relations whose files it removed
    invalidated: frozenset[int]  # oids of relations whose definition it changed


@dataclass(frozen=True, slots=True)
class DroppedDatabase:
    """The end of a database."""

    position: int  # before its DROP began
    oid: int


Change = Commit | DroppedDatabase


@dataclass(frozen=True, slots=True)
class Scanner:
    """A reader of archived WAL. folder: for a few segments at a time; it belongs to the user."""

    assembly: Assembly
    way: Way
    segment_size: int
    folder: Path
    user: str | None  # pg_waldump runs as this user
    binaries: Binaries

    def changes(self, start: int, end: int) -> Iterator[Change]:
        """Yield what changed definitions in the WAL from start to end, in order."""
        for leg in self.way.from_(start):
            stop = end if leg.end is None else min(end, leg.end)
            at = leg.start
            while at < stop:
                border = min((at // self.segment_size + _AT_ONCE) * self.segment_size, stop)
                yield from self._batch(leg.timeline, at, border, stop)
                at = border

    def beginning_of_drop(self, drop: int) -> int | None:
        """Return where DROP DATABASE began, of which the record at this position removes files.

        None if another transaction committed in between.
        """
        timeline = self.way.at(drop)
        start = max(0, drop // self.segment_size - 1) * self.segment_size
        with self._written(timeline, start, drop + self.segment_size):
            begun = self._beginning_of_drop(timeline, start, drop)
            commits = self._dumped(timeline, begun, drop, "Transaction")
            return None if any(_is_commit(line) for line in commits) else begun

    def _batch(self, timeline: int, start: int, border: int, stop: int) -> Iterator[Change]:
        """Yield the changes whose records begin between start and border.

        The segment after the border is there as well, since the last record may reach into it.
        """
        end = min(border + self.segment_size, stop)
        with self._written(timeline, start, end):
            for line in self._dumped(timeline, start, end, "Transaction", "Database"):
                found = _RECORD.match(line)
                if found is None or position(found["lsn"]) >= border:
                    continue
                if found["what"] in _COMMITS:
                    yield from _commit(found)
                elif gone := _DROPPED_DATABASE.match(f"{found['what']} {found['rest']}"):
                    before = self._beginning_of_drop(timeline, start, position(found["lsn"]))
                    yield DroppedDatabase(before, int(gone[1]))

    @contextmanager
    def _written(self, timeline: int, start: int, end: int) -> Iterator[None]:
        """Keep the segments from start to end in the folder during the block."""
        names = self._write(timeline, start, end)
        try:
            yield
        finally:
            with acting_as(self.user):
                for name in names:
                    (self.folder / name).unlink()

    def _write(self, timeline: int, start: int, end: int) -> list[str]:
        names = []
        at = start // self.segment_size * self.segment_size
        while at < end:
            segment = Segment(timeline, at)
            content = self.assembly.segment(segment, end)
            if content is not None:
                names.append(segment.name(self.segment_size))
                with acting_as(self.user):
                    (self.folder / names[-1]).write_bytes(content)
            at += self.segment_size
        return names

    def _dumped(self, timeline: int, start: int, end: int, *kinds: str) -> Iterator[str]:
        argv = [
            self.binaries["pg_waldump"],
            f"--path={self.folder}",
            f"--timeline={timeline}",
            f"--start={lsn(start)}",
            f"--end={lsn(end)}",
            *(f"--rmgr={kind}" for kind in kinds),
        ]
        program = replace(
            worker(argv, self.user, code="postgres.wal"), environment={"TZ": "UTC", "LC_ALL": "C"}
        )
        try:
            with stream(program) as lines:
                for line in lines:
                    yield line.decode("utf-8", "surrogateescape").rstrip("\n")
        except BackupError as error:
            if not any(told in error.message for told in _ENDS_OF_WAL):
                raise

    def _beginning_of_drop(self, timeline: int, start: int, drop: int) -> int:
        """Return where DROP DATABASE marked the database as unusable, before it removed it."""
        marks = [
            position(found["lsn"])
            for line in self._dumped(timeline, start, drop, "Heap")
            if (found := _RECORD.match(line)) and found["what"] == "INPLACE"
            if _PG_DATABASE in line
        ]
        return marks[-1] if marks else drop


def _is_commit(line: str) -> bool:
    found = _RECORD.match(line)
    return found is not None and found["what"] in _COMMITS


def _commit(record: re.Match[str]) -> Iterator[Commit]:
    found = _COMMIT.match(record["rest"])
    if found is None:
        return
    at, rest = datetime.fromisoformat(found[1]).replace(tzinfo=UTC), found[2]
    stats, files = _DROPPED_STATS.search(rest), _FILES.search(rest)
    commit = Commit(
        position(record["lsn"]),
        at,
        frozenset(
            (int(database), int(oid))
            for database, oid in _RELATION.findall(stats[1] if stats else "")
        ),
        frozenset(files[1].split() if files else ()),
        frozenset(map(int, _INVALIDATED.findall(rest))),
    )
    if commit.dropped or commit.files or commit.invalidated:
        yield commit
