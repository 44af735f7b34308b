"""What the WAL of a snapshot would do outside of its data directory, found before it is replayed.

A tablespace that was created while the snapshot was taken stands in the WAL with its absolute
path. Recovery would link to it and write old pages there, into the files of a server that lives.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from three_backup.command import Program, stream
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.binaries import Binaries

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_TIMELINE_DIGITS = 8
_REDO = re.compile(r"^START WAL LOCATION: (\S+) \(file (\w+)\)", re.MULTILINE)
# One that lies in the data directory has an empty path.
_CREATED = re.compile(rb'desc: CREATE (\d+) "(/[^"\n]*)')
# So it always ends, unless a segment is full to its last byte; recovery ends at the same record.
_END_OF_WAL = "error in WAL record at"


class _Redo(NamedTuple):
    """Where recovery begins: a position, and the segment that has it."""

    position: str
    segment: str


def check_tablespaces(
    binaries: Binaries,
    pgdata: Path,
    user: str | None,
    filled: Mapping[int, Path] = MappingProxyType({}),
) -> None:
    """Raises BackupError where recovery of pgdata would write into a tablespace's location.

    filled: the locations, by oid, that were empty and are filled by us.
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
    """The segments of each that recovery reads; a standby that was backed up may have followed
    its server to a next one, and still have those of the one before."""
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
    """The location of a tablespace that these segments create, and that is not ours."""
    argv = [binaries["pg_waldump"], f"--path={pgdata / 'pg_wal'}", "--rmgr=Tablespace"]
    argv += [*_start(redo, segments[0]), segments[0], segments[-1]]
    try:
        with stream(Program(argv, user=user, code="postgres.wal", what="postgres")) as lines:
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
    """Where recovery begins, unless that lies before the segment: what is older may be there."""
    if redo is None or redo.segment[_TIMELINE_DIGITS:] != first[_TIMELINE_DIGITS:]:
        return []
    return [f"--start={redo.position}"]
