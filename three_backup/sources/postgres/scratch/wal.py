"""Find WAL records that would write outside of the data directory, before WAL is replayed.

The WAL names a tablespace that was created while the snapshot was taken by its absolute path.
Recovery would link to it and write old pages into the files of a running server.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from three_backup.command import stream
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.binaries import Binaries, worker

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_TIMELINE_DIGITS = 8
_REDO = re.compile(r"^START WAL LOCATION: (\S+) \(file (\w+)\)", re.MULTILINE)
# A tablespace inside the data directory has an empty path, and does not match.
_CREATED = re.compile(rb'desc: CREATE (\d+) "(/[^"\n]*)')
# pg_waldump always ends with this error, unless a segment is full to its last byte. Recovery ends
# at the same record.
_END_OF_WAL = "error in WAL record at"


class _Redo(NamedTuple):
    """The start of recovery."""

    position: str
    segment: str  # contains the position


def check_tablespaces(
    binaries: Binaries,
    pgdata: Path,
    user: str | None,
    filled: Mapping[int, Path] = MappingProxyType({}),
) -> None:
    """Raise BackupError if recovery of pgdata would write into a tablespace's location.

    filled: the locations, by oid, that were empty and that this restore fills.
    """
    redo = _redo(pgdata)
    for segments in _timelines(pgdata, redo):
        path = _created(binaries, pgdata, segments, redo, user, filled)
        if path is not None:
            raise BackupError(
                "postgres.tablespace_meanwhile",
                f"postgres: a tablespace was created in {path} while the snapshot was taken; its "
                "recovery would write into that folder",
                "restore another snapshot (--snapshot or --at)",
            )


def _redo(pgdata: Path) -> _Redo | None:
    label = pgdata / "backup_label"
    found = _REDO.search(label.read_text("utf-8", "replace")) if label.exists() else None
    return None if found is None else _Redo(found[1], found[2])


def _timelines(pgdata: Path, redo: _Redo | None) -> list[list[str]]:
    """Return the segments of each timeline that recovery reads.

    A standby that was backed up may have followed its server to a new timeline, and still have
    segments of the one before.
    """
    names = sorted(
        path.name for path in (pgdata / "pg_wal").iterdir() if _SEGMENT.fullmatch(path.name)
    )
    first = redo.segment[:_TIMELINE_DIGITS] if redo else ""
    timelines: dict[str, list[str]] = {}
    for name in names:
        if name[:_TIMELINE_DIGITS] >= first:
            timelines.setdefault(name[:_TIMELINE_DIGITS], []).append(name)
    return list(timelines.values())


def _created(
    binaries: Binaries,
    pgdata: Path,
    segments: list[str],
    redo: _Redo | None,
    user: str | None,
    filled: Mapping[int, Path],
) -> str | None:
    """Return the location of a tablespace that these segments create, unless it is in filled."""
    argv = [binaries["pg_waldump"], f"--path={pgdata / 'pg_wal'}", "--rmgr=Tablespace"]
    argv += [*_start(redo, segments[0]), segments[0], segments[-1]]
    try:
        with stream(worker(argv, user, code="postgres.wal")) as lines:
            for line in lines:
                created = _CREATED.search(line)
                if created is None:
                    continue
                path = created[2].decode("utf-8", "surrogateescape")
                if filled.get(int(created[1])) != Path(path):
                    return path
    except BackupError as error:
        if _END_OF_WAL not in error.message:
            raise
    return None


def _start(redo: _Redo | None, first: str) -> list[str]:
    """Return the pg_waldump option that skips records older than the redo position.

    Nothing is returned if the first segment is not the one with that position.
    """
    if redo is None or redo.segment[_TIMELINE_DIGITS:] != first[_TIMELINE_DIGITS:]:
        return []
    return [f"--start={redo.position}"]
