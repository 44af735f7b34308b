"""Fetch, check and decompress the frames of packs, ahead of whoever uses them."""

from collections import deque
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
    runs,
)

_THREADS = 4
_AHEAD = _THREADS + 2
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


def sizes(groups: Sequence[Group], wanted: Iterable[File]) -> dict[str, int]:
    """Return how many bytes batches() will read, by pack."""
    return {
        pack: sum(map(length_of_run, runs(needs, _BATCH_SIZE)))
        for pack, needs in needs_of(groups, wanted).items()
    }


def read_ahead(wanted: Iterable[Batch]) -> Iterator[list[Piece]]:
    """Yield the pieces of each batch, in order; they are valid until the next are asked for.

    Pieces of one file come in ascending order, but pieces of others may come between them.
    Raises BackupError if a frame is damaged or cannot be read.
    """
    free: list[bytearray] = []
    queue: deque[tuple[Batch, bytearray, Future[None]]] = deque()
    pool = ThreadPoolExecutor(_THREADS, "fetch")
    try:
        for batch in wanted:
            room = free.pop() if free else bytearray(_BATCH_SIZE)
            queue.append((batch, room, pool.submit(_fetch, batch, room)))
            if len(queue) == _AHEAD:
                yield from _oldest(queue, free)
        while queue:
            yield from _oldest(queue, free)
    finally:
        # Whoever is stopped while S3 hangs has a folder to clear, and few seconds for it.
        pool.shutdown(wait=False, cancel_futures=True)


def _oldest(
    queue: deque[tuple[Batch, bytearray, Future[None]]], free: list[bytearray]
) -> Iterator[list[Piece]]:
    batch, room, fetched = queue.popleft()
    fetched.result()
    yield list(_pieces(batch, memoryview(room)))
    free.append(room)


def _fetch(batch: Batch, room: bytearray) -> None:
    """Decompress the frames of the batch into room, one after the other."""
    start, end = batch.run[0].frame.offset, 0
    stored = memoryview(batch.files.read_range(batch.pack, start, length_of_run(batch.run)))
    for frame in (need.frame for need in batch.run):
        begin, end = end, end + frame.raw
        within = frame.offset - start
        body = stored[within : within + frame.stored]
        decompress_frame(batch.pack, frame, body, memoryview(room)[begin:end])


def _pieces(batch: Batch, room: memoryview) -> Iterator[Piece]:
    start = 0
    for need in batch.run:
        for part in need.slices:
            begin = start + part.frame_offset
            yield part.file, part.file_offset, room[begin : begin + part.length]
        start += need.frame.raw
