"""Retention of archived WAL: what no snapshot of a job can lead on into any more.

A restore replays WAL from the segment of a snapshot's start on. So what ends before the oldest of
these is needed by none, whatever timeline it is on: positions only grow along each way.
"""

from collections.abc import Collection, Iterator, Sequence

from three_backup.errors import BackupError
from three_backup.s3.lock import is_locked
from three_backup.sources.jobs import LogJob
from three_backup.sources.logged import LogVerdict
from three_backup.sources.postgres.wal.archive import Contents, WalArchive
from three_backup.sources.postgres.wal.names import Piece
from three_backup.sources.postgres.wal.span import Span
from three_backup.sources.postgres.wal.timelines import way_to


def expendable_log(job: LogJob) -> Sequence[LogVerdict]:
    spans = [Span.of(manifest) for manifest in job.manifests]
    if not spans:
        return ()
    archive = WalArchive(job.store, job.carrier)
    contents = archive.contents()
    expendable = expendable_pieces(contents, spans)
    storage = job.store.storage
    pieces = [piece for piece in expendable if not (piece.at and is_locked(storage, piece.at))]
    histories = expendable_histories(contents, spans, pieces)
    oldest = min(spans, key=lambda span: span.first_segment)
    verdicts = (
        LogVerdict(
            [archive.key_of(piece) for piece in pieces],
            sum(piece.stored for piece in pieces),
            f"before {oldest.snapshot}, the oldest snapshot that keeps WAL",
        ),
        LogVerdict(
            [archive.key_of_history(timeline) for timeline in histories],
            sum(len(contents.histories[timeline]) for timeline in histories),
            "of a timeline of which nothing is left and from which nothing leads on",
        ),
    )
    return [verdict for verdict in verdicts if verdict.keys]


def expendable_pieces(contents: Contents, spans: Collection[Span]) -> list[Piece]:
    """Return the pieces that no snapshot needs, the oldest first. spans: at least one."""
    floor = min(span.first_segment for span in spans)
    expendable = (piece for piece in contents.pieces if piece.end <= floor)
    return sorted(expendable, key=lambda piece: (piece.start, piece.timeline, piece.end))


def expendable_histories(
    contents: Contents, spans: Collection[Span], pieces: Collection[Piece]
) -> list[int]:
    """Return the timelines whose history files no snapshot needs once the pieces are gone.

    None if it is not known where a timeline comes from that is still in use.
    """
    gone = set(pieces)
    left = {piece.timeline for piece in contents.pieces if piece not in gone}
    try:
        needed = set(_passed(contents, {*left, *(span.timeline for span in spans)}))
    except BackupError:
        return []
    return sorted(set(contents.histories) - needed)


def _passed(contents: Contents, timelines: Collection[int]) -> Iterator[int]:
    """Yield the timelines that the ways to the given ones and to the newest one pass."""
    newest = contents.newest_timeline
    for timeline in {*timelines} | ({newest} if newest else set()):
        yield timeline
        yield from (leg.timeline for leg in way_to(timeline, contents.histories).legs)
