"""Fetch, check and decompress the frames of packs, ahead of whoever uses them."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from three_backup.sources.jobs import SnapshotFiles
from three_backup.sources.postgres.index import File, Group
from three_backup.sources.postgres.pack import (
    FRAME_SIZE,
    Need,
    decompress_frame,
    length_of_run,
    needs_of,
    read_frames,
    runs,
)

_THREADS = 4
_AHEAD = _THREADS + 1
_BATCH_SIZE = 2 * FRAME_SIZE
"""The memory of each of _AHEAD batches, beside what it takes compressed, however much is read."""

Piece = tuple[File, int, memoryview]
"""A file, an offset in what is stored of it, and the bytes there."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames that one read fetches, and what is wanted of them."""

    files: SnapshotFiles
    pack: str
    run: Sequence[Need]


def batches(
    files: SnapshotFiles,
    groups: Sequence[Group],
    wanted: Iterable[File],
    wants: Callable[[Need], bool] = lambda need: True,
) -> Iterator[Batch]:
    """Yield batches of the frames of one snapshot in which the files lie, in the packs' order.

    wants: asked of each frame as late as possible; what it refuses is not read.
    """
    for pack, needs in needs_of(groups, wanted).items():
        for run in runs(filter(wants, needs), _BATCH_SIZE):
            yield Batch(files, pack, run)


def sizes(
    groups: Sequence[Group], wanted: Iterable[File], wants: Callable[[Need], bool]
) -> Counter[str]:
    """Return how many bytes batches() will read, by pack."""
    return Counter(
        {
            pack: sum(map(length_of_run, runs(filter(wants, needs), _BATCH_SIZE)))
            for pack, needs in needs_of(groups, wanted).items()
        }
    )


def read_ahead(wanted: Iterable[Batch]) -> Iterator[list[Piece]]:
    """Yield the pieces of each batch, in order.

    Pieces of one file come in ascending order, but pieces of others may come between them.
    Raises BackupError if a frame is damaged or cannot be read.
    """
    queue: deque[Future[list[Piece]]] = deque()
    pool = ThreadPoolExecutor(_THREADS, "fetch")
    try:
        for batch in wanted:
            queue.append(pool.submit(_fetched, batch))
            if len(queue) == _AHEAD:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        # Whoever is stopped while S3 hangs has a folder to clear, and few seconds for it.
        pool.shutdown(wait=False, cancel_futures=True)


def _fetched(batch: Batch) -> list[Piece]:
    frames = [need.frame for need in batch.run]
    pieces: list[Piece] = []
    for need, body in zip(batch.run, read_frames(batch.files, batch.pack, frames), strict=True):
        raw = memoryview(decompress_frame(batch.pack, need.frame, body))
        for part in need.slices:
            end = part.frame_offset + part.length
            pieces.append((part.file, part.file_offset, raw[part.frame_offset : end]))
    return pieces
