"""Fetch: hand archived WAL back to a server that recovers, as its restore_command."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.model.objects import Carrier
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store
from three_backup.sources.postgres.wal.archive import Reached, WalArchive, archived_clusters
from three_backup.sources.postgres.wal.beside import all_pieces, furthest_known
from three_backup.sources.postgres.wal.coverage import fewest
from three_backup.sources.postgres.wal.names import Piece, Segment, lsn, timeline_of_history
from three_backup.sources.postgres.wal.origin import Header, cluster_at
from three_backup.sources.postgres.wal.spool import Ahead, written
from three_backup.sources.postgres.wal.timelines import way_to

_AHEAD = 8
"""Segments that are fetched ahead, at most."""

_WINDOW = 256 << 20
"""Bytes of WAL that are fetched ahead, at most; all keys of such a window begin alike."""

_THREADS = 4


class _Slice(NamedTuple):
    """The part of a piece that is put into a segment."""

    piece: Piece
    start: int  # position
    end: int  # position


def fetch(catalog: Catalog, name: str, path: Path) -> bool:
    """Write a file of the server's pg_wal to the path; return whether the archive has it.

    Raises BackupError where that is not known, where what is there is damaged, and where the
    archive goes on behind a gap.
    """
    carrier = cluster_at(Path()) or _only_cluster(catalog.bucket)
    if carrier is None:
        return False
    ahead = Ahead(catalog.storage, carrier)
    if ahead.give(name, path):
        return True
    archive = WalArchive(catalog.bucket, carrier)
    timeline = timeline_of_history(name)
    if timeline is not None:
        return _fetch_history(archive, timeline, path)
    reached = furthest_known(archive)
    size = _segment_size(archive) if reached is None else reached.segment_size
    segment = Segment.parse(name, size) if size else None
    return segment is not None and _fetch(archive, reached, segment, size, path, ahead)


def _fetch(
    archive: WalArchive,
    reached: Reached | None,
    segment: Segment,
    size: int,
    path: Path,
    ahead: Ahead,
) -> bool:
    """Write the segment, and fetch those that follow; the server will ask for them next."""
    border = max((segment.start // _WINDOW + 1) * _WINDOW, segment.start + size)
    pieces = archive.pieces(segment.timeline, segment.start, border)
    slices = _slices(pieces, segment.start, size)
    if archive.store.spares.stores and _reach(slices, segment) < segment.start + size:
        pieces = all_pieces(archive, segment.timeline, segment.start, border)
        slices = _slices(pieces, segment.start, size)
    _refuse_gap(archive, reached, segment, size, _reach(slices, segment))
    if not slices:
        return False
    following = _following(pieces, segment, size, border)
    ahead.keep({name for name, _ in following})
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="wal") as pool:
        wanted = pool.submit(_assemble, archive, slices, size, path)
        futures = [
            pool.submit(_assemble_ahead, archive, found, size, ahead, name)
            for name, found in following
            if not ahead.has(name)
        ]
        _settle(wanted, futures)
    return True


def _reach(slices: Sequence[_Slice], segment: Segment) -> int:
    """Return the position up to which there is something of the segment without a gap."""
    return slices[-1].end if slices else segment.start


def _settle(wanted: Future[None], others: Sequence[Future[None]]) -> None:
    """Wait for all; raise only what keeps us from the wanted one: others are asked for again."""
    try:
        wanted.result()
    except BaseException:
        for future in others:
            future.cancel()
        raise


def _following(
    pieces: Sequence[Piece], segment: Segment, size: int, border: int
) -> list[tuple[str, list[_Slice]]]:
    """Return the name and the slices of the next segments that are whole."""
    last = min(border, segment.start + (1 + _AHEAD) * size)
    found = []
    for start in range(segment.start + size, last, size):
        slices = _slices(pieces, start, size)
        if not slices or slices[-1].end < start + size:
            break
        found.append((Segment(segment.timeline, start).name(size), slices))
    return found


def _slices(pieces: Iterable[Piece], start: int, size: int) -> list[_Slice]:
    """Return what follows from start on without a gap, at most to the segment's end."""
    found: list[_Slice] = []
    for piece in fewest((piece for piece in pieces if piece.start >= start), start, start + size):
        found.append(_Slice(piece, found[-1].end if found else start, piece.end))
    return found


def _assemble(archive: WalArchive, slices: Sequence[_Slice], size: int, path: Path) -> None:
    """Write a segment; zeros follow what the archive has of it. Raises BackupError if damaged."""
    start = slices[0].start
    with written(path) as temporary, temporary.open("wb") as file:
        for part in slices:
            content = archive.read(part.piece)[part.start - part.piece.start :]
            if part.start == start:
                _check(archive, part.piece, content, size)
            file.write(content)
        file.truncate(size)


def _assemble_ahead(
    archive: WalArchive, slices: Sequence[_Slice], size: int, ahead: Ahead, name: str
) -> None:
    with suppress(BackupError, OSError):  # the call that wants it will tell
        _assemble(archive, slices, size, ahead.place(name))


def _check(archive: WalArchive, piece: Piece, content: bytes, size: int) -> None:
    header = Header.parse(content)
    if header != Header(piece.start, archive.carrier.rpartition("/")[2], size):
        raise BackupError(
            "postgres.wal_damaged",
            f"{archive.place}{piece.key}: this is not the WAL that its name says",
            "restore to a moment before it, or from a snapshot after it",
        )


def _refuse_gap(
    archive: WalArchive, reached: Reached | None, segment: Segment, size: int, until: int
) -> None:
    """Raise BackupError if the archive goes on behind what it has of the segment.

    The server would take what is missing for the end of all WAL, and begin to work.
    """
    if reached is None or (segment.timeline, until) >= (reached.timeline, reached.lsn):
        return
    histories = archive.histories() if reached.timeline > 1 else {}
    for leg in way_to(reached.timeline, histories).legs:
        last = reached.lsn if leg.end is None else leg.end
        needed = min(last, segment.start + size)
        if leg.timeline == segment.timeline and max(until, leg.start) < needed:
            raise BackupError(
                "postgres.wal_gap",
                f"{archive.carrier}: WAL of timeline {segment.timeline} from {lsn(until)} on is "
                f"missing in the archive, which goes on to {lsn(reached.lsn)}",
                "recover to a moment before the gap (recovery_target_time), or from a snapshot "
                "that was taken after it",
            )


def _fetch_history(archive: WalArchive, timeline: int, path: Path) -> bool:
    try:
        content = archive.history(timeline)
    except MissingError:
        return False
    with written(path) as temporary:
        temporary.write_bytes(content)
    return True


def _only_cluster(store: Store) -> Carrier | None:
    """Return the cluster whose WAL is archived; None if there is none."""
    found = archived_clusters(store)
    if len(found) > 1:
        raise BackupError(
            "postgres.many_clusters",
            f"{store.place()}: there is WAL of {len(found)} clusters, {', '.join(found)}",
            "run tb-wal fetch in the data directory, which tells whose WAL it needs",
        )
    return found[0] if found else None


def _segment_size(archive: WalArchive) -> int:
    """Return the size of the cluster's segments, as a first page says; 0 if there is none."""
    for piece in archive.pieces():
        header = Header.parse(archive.read(piece))
        if header is not None:
            return header.segment_size
    return 0
