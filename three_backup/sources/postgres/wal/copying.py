"""Copies archived WAL into another store: history files, pieces, and last how far they lead."""

from concurrent.futures import ThreadPoolExecutor

from three_backup.s3.client import THREADS
from three_backup.sources.jobs import LogCopyJob
from three_backup.sources.logged import LogCopied
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.retention import expendable_pieces
from three_backup.sources.postgres.wal.span import Span


def copy_log(job: LogCopyJob) -> LogCopied:
    spans = [Span.of(manifest) for manifest in job.manifests]
    if not spans:
        return LogCopied()
    source, target = WalArchive(job.source, job.carrier), WalArchive(job.target, job.carrier)
    reached = source.reached()  # read before the list of pieces, which may lead further by now
    contents = source.contents()
    there = {(piece.timeline, piece.start, piece.end) for piece in target.pieces()}
    needless = set(expendable_pieces(contents, spans))
    lacking = [
        piece
        for piece in contents.pieces
        if piece not in needless and (piece.timeline, piece.start, piece.end) not in there
    ]
    for timeline, history in contents.histories.items():
        target.add_history(timeline, history)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="wal") as pool:
        written = sum(pool.map(lambda piece: target.put(piece, source.read(piece)), lacking))
    if reached is not None:
        target.note_further(target.reached(), reached)
    return LogCopied(len(lacking), written)
