"""Push: store what the server hands over as its archive_command, and what waits behind it."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.host.handed import Notes, identity
from three_backup.sources.jobs import Say
from three_backup.sources.postgres.wal.archive import Reached, WalArchive
from three_backup.sources.postgres.wal.names import Segment, timeline_of_history
from three_backup.sources.postgres.wal.origin import Header, carrier_of, cluster_at
from three_backup.sources.postgres.wal.sending import DIFFERS, File, send
from three_backup.sources.postgres.wal.timelines import way_to

_BACKUP, _PARTIAL, _READY = ".backup", ".partial", ".ready"
_MOST = 64
"""Files that one call sends: enough to hide its start, few enough to end within minutes."""


def push(catalog: Catalog, path: Path, notes: Notes, level: int, say: Say) -> None:
    """Store a file of the server's pg_wal; return once it is in S3 and checked.

    path: relative to the data directory, or absolute. notes: of what calls before it stored.
    level: of zstd. Raises BackupError.
    """
    if path.name.endswith(_BACKUP):
        return  # it says where a base begins; manifests of snapshots do
    timeline = timeline_of_history(path.name)
    if timeline is not None:
        _push_history(catalog, path, timeline)
        return
    header = _checked_header(path)
    carrier = carrier_of(header.identifier)
    if notes.has(path):
        return
    archive = WalArchive(catalog.bucket, carrier, level)
    catalog.claim(renew=False)
    if path.name.endswith(_PARTIAL):
        _push_partial(archive, path, header, say)
    else:
        _push_segments(archive, path, header, notes)


def _push_segments(archive: WalArchive, path: Path, header: Header, notes: Notes) -> None:
    """Store the segment and all others that wait; those are noted for the calls to come."""
    waiting = _waiting(path.parent, header)
    batch = [_file(path, header), *(file for file in waiting if file.path.name != path.name)]
    outcome = send(archive, batch[:_MOST], header.segment_size)
    notes.forget_old([file.path for file in waiting])
    for file in outcome.stored:
        notes.add(file.path, file.identity)
    _note_reached(archive, batch[:_MOST], outcome.stored, header.segment_size)
    if outcome.error is not None and batch[0] not in outcome.stored:
        raise outcome.error


def _note_reached(
    archive: WalArchive, batch: Sequence[File], stored: Sequence[File], segment_size: int
) -> None:
    """Note the end of what is stored of the batch without one left out: it is the oldest."""
    last = None
    for file in sorted(batch, key=lambda file: file.segment):
        if file not in stored:
            break
        last = file
    if last is not None:
        at = datetime.fromtimestamp(last.modified, UTC)
        now = Reached(last.segment.timeline, last.end, at, segment_size)
        archive.note_further(archive.reached(), now)


def _waiting(pg_wal: Path, header: Header) -> list[File]:
    """Return the segments that the server wants to be archived, the oldest first."""
    found = []
    with suppress(FileNotFoundError):
        for ready in sorted((pg_wal / "archive_status").glob(f"*{_READY}")):
            path = pg_wal / ready.stem
            if Segment.parse(path.name, header.segment_size):
                with suppress(OSError, BackupError):  # its own call will tell
                    found.append(_file(path, _checked_header(path)))
            if len(found) == _MOST:
                break
    return found


def _file(path: Path, header: Header) -> File:
    segment = Segment.parse(path.name.removesuffix(_PARTIAL), header.segment_size)
    if segment is None or segment.start != header.start:
        raise BackupError(
            "postgres.no_wal",
            f"{path}: the name is not that of the segment in it",
            "give tb-wal what the server puts in place of %p",
        )
    end, modified = segment.start + header.segment_size, path.stat().st_mtime
    return File(path, segment, end, modified, identity(path))


def _push_partial(archive: WalArchive, path: Path, header: Header, say: Say) -> None:
    """Store the last segment of a timeline that was left, as far as the new one goes on from it.

    The old server may have written something else behind that point.
    """
    file = _file(path, header)
    left_at = _left_at(path.parent, file.segment.timeline, file.segment.start, file.end)
    if left_at is None:
        say(f"{path.name} is not stored: no history file beside tells where its timeline was left")
        return
    until = File(path, file.segment, left_at, file.modified, file.identity)
    outcome = send(archive, [until], header.segment_size)
    if outcome.error is not None and outcome.error.code == DIFFERS:
        say(f"{path.name} is not stored: {outcome.error}")
    elif outcome.error is not None:
        raise outcome.error


def _left_at(pg_wal: Path, timeline: int, start: int, end: int) -> int | None:
    """Return the position in the segment at which another timeline leaves this one."""
    for path in sorted(pg_wal.glob("*.history")):
        number = timeline_of_history(path.name)
        if number is not None:
            for leg in way_to(number, {number: path.read_bytes()}).legs:
                if leg.timeline == timeline and leg.end and start < leg.end <= end:
                    return leg.end
    return None


def _push_history(catalog: Catalog, path: Path, timeline: int) -> None:
    content = path.read_bytes()
    carrier = cluster_at(path.parent.parent)
    if carrier is None:
        raise BackupError(
            "postgres.no_cluster",
            f"{path}: nothing tells which cluster it is of",
            "run tb-wal push in the data directory, as archive_command does",
        )
    archive = WalArchive(catalog.bucket, carrier)
    catalog.claim(renew=False)
    archive.add_history(timeline, content)


def _checked_header(path: Path) -> Header:
    """Return the header of a segment. Raises BackupError if it is of another cluster."""
    header = Header.read(path)
    cluster = cluster_at(path.parent.parent)
    if cluster not in (None, carrier_of(header.identifier)):
        raise BackupError(
            "postgres.other_cluster",
            f"{path}: this is WAL of {carrier_of(header.identifier)}, not of {cluster}",
            "remove it from pg_wal if nobody needs it",
        )
    return header
