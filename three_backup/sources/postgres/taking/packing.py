"""Write packs: groups of bytes, cut into frames that threads compress while the stream goes on.

Memory is bounded, whatever the number and size of the groups: frames being filled hold
`PENDING_SIZE` together, frames being compressed a few times `FRAME_SIZE`.
"""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Self

from three_backup.sources.postgres.index import Frame, Group, Tier
from three_backup.sources.postgres.pack import FRAME_SIZE

PENDING_SIZE = 32 << 20

_WINDOW_LOG = 19
"""Rows repeat what is close by. With a window of 512 KiB instead of the level's 2 MiB, tables
compress faster and better, everything else 2 % worse."""

_FASTEST = {"window_log": 18, "hash_log": 15, "min_match": 5}
"""Parameters of level 1, whose own shortest match is longer than a number in a row. With them,
rows and indexes become as small as at level 3 in half the time; text is a seventh larger."""

_NICENESS = 19
"""Compressing threads give way to the receiving thread and the sending server: while these wait
for a core, nothing arrives to be compressed."""


@dataclass(slots=True)
class PackedGroup:
    """A group as it lies in a pack."""

    pack: str
    # In the order of the group's bytes, with their offsets in the pack.
    frames: list[Frame] = field(default_factory=list)


@dataclass(slots=True)
class _Filling:
    """A group that is being written. Sizes in bytes."""

    pieces: list[memoryview] = field(default_factory=list)  # not cut into a frame yet
    pending: int = 0  # size of the pieces
    size: int = 0  # of the whole group, pieces included


@dataclass(frozen=True, slots=True)
class _Cut:
    """A frame before compression."""

    group: int
    pieces: list[memoryview]


@dataclass(frozen=True, slots=True)
class _Compressed:
    group: int
    stored: bytes
    raw: int
    sha256: bytes


class PackWriter:
    """A writer of packs in a folder; a context manager, because it runs compressing threads."""

    def __init__(
        self, directory: Path, level: int, threads: int, frame_size: int = FRAME_SIZE
    ) -> None:
        """frame_size: the most bytes that a frame holds, before compression."""
        self._directory = directory
        self._frame_size = frame_size
        self._compressor = _Compressor(level)
        self._pool = ThreadPoolExecutor(threads, "compress", initializer=_give_way)
        self._most_queued = threads + 2
        self._groups: list[PackedGroup] = []
        self._filling: list[_Filling] = []
        self._pending = 0
        self._batch: list[_Cut] = []
        self._batch_size = 0
        self._queue: deque[Future[list[_Compressed]]] = deque()
        self._files: dict[str, IO[bytes]] = {}
        self._ends: dict[str, int] = {}

    def begin_group(self, pack: str) -> int:
        """Return the number of a new group, whose frames go to pack."""
        self._groups.append(PackedGroup(pack))
        self._filling.append(_Filling())
        return len(self._groups) - 1

    def size(self, group: int) -> int:
        """Return the bytes written to the group, which is the offset of its next file."""
        return self._filling[group].size

    def write(self, group: int, piece: memoryview) -> None:
        """Add bytes to the group. piece: at most FRAME_SIZE bytes; it is kept, not copied."""
        filling = self._filling[group]
        length = len(piece)
        if filling.pending and filling.pending + length > self._frame_size:
            self._cut(group)
        filling.pieces.append(piece)
        filling.pending += length
        filling.size += length
        self._pending += length
        if self._pending > PENDING_SIZE:
            self._cut_all()

    def finish(self) -> list[PackedGroup]:
        """Write what is left, and return all groups, by number."""
        self._cut_all()
        self._submit()
        while self._queue:
            self._write_oldest()
        for file in self._files.values():
            file.flush()
        return self._groups

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.close()

    def _cut_all(self) -> None:
        for group, filling in enumerate(self._filling):
            if filling.pending:
                self._cut(group)

    def _cut(self, group: int) -> None:
        """Cut the group's pieces into a frame. Small frames go to the threads together."""
        filling = self._filling[group]
        self._batch.append(_Cut(group, filling.pieces))
        self._batch_size += filling.pending
        self._pending -= filling.pending
        filling.pieces, filling.pending = [], 0
        if self._batch_size >= FRAME_SIZE:
            self._submit()

    def _submit(self) -> None:
        self._queue.append(self._pool.submit(self._compressor.compress, self._batch))
        self._batch, self._batch_size = [], 0
        while len(self._queue) > self._most_queued or self._queue[0].done():
            self._write_oldest()
            if not self._queue:
                return

    def _write_oldest(self) -> None:
        for compressed in self._queue.popleft().result():
            group = self._groups[compressed.group]
            if group.pack not in self._files:
                self._files[group.pack] = (self._directory / group.pack).open("wb")
            offset = self._ends.get(group.pack, 0)
            stored = self._files[group.pack].write(compressed.stored)
            self._ends[group.pack] = offset + stored
            group.frames.append(Frame(offset, stored, compressed.raw, compressed.sha256))


def move_groups(
    directory: Path, groups: Sequence[PackedGroup], places: Sequence[Tier]
) -> tuple[Group, ...]:
    """Move every group's stored frames to the pack of its place; NONE drops them.

    A group that leaves a pack leaves no bytes in it. places: by the number of the group.
    """
    frames = [list(group.frames) for group in groups]
    emptied: dict[str, list[int]] = {}
    for number, (group, place) in enumerate(zip(groups, places, strict=True)):
        if place.pack == group.pack or not group.frames:
            continue
        emptied.setdefault(group.pack, [])
        moved = () if place is Tier.NONE else frames[number]
        frames[number] = _append(directory / group.pack, directory / place.pack, moved)
    for number, place in enumerate(places):
        if place.pack in emptied:
            emptied[place.pack].append(number)
    for pack, staying in emptied.items():
        _compact(directory / pack, [frames[number] for number in staying])
    return tuple(Group(place, tuple(found)) for place, found in zip(places, frames, strict=True))


def _give_way() -> None:
    """Lower this thread's priority. On Linux, setpriority() on a thread id renices only it."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class _Compressor:
    """A compressor of frames, with one zstd context per thread."""

    def __init__(self, level: int) -> None:
        from zstandard import ZstdCompressionParameters

        tuned = _FASTEST if level == 1 else {"window_log": _WINDOW_LOG}
        self._parameters = ZstdCompressionParameters.from_level(
            level, source_size=FRAME_SIZE, **tuned
        )
        self._local = threading.local()

    def compress(self, batch: Iterable[_Cut]) -> list[_Compressed]:
        return [self._frame(cut) for cut in batch]

    def _frame(self, cut: _Cut) -> _Compressed:
        import zstandard

        if not hasattr(self._local, "zstd"):
            self._local.zstd = zstandard.ZstdCompressor(compression_params=self._parameters)
            self._local.frame = memoryview(bytearray(FRAME_SIZE))
        raw = _joined(cut.pieces, self._local.frame)
        stored: bytes = self._local.zstd.compress(raw)
        return _Compressed(cut.group, stored, len(raw), hashlib.sha256(stored).digest())


def _joined(pieces: Iterable[memoryview], room: memoryview) -> memoryview:
    end = 0
    for piece in pieces:
        start, end = end, end + len(piece)
        room[start:end] = piece
    return room[:end]


def _append(source: Path, target: Path, frames: Sequence[Frame]) -> list[Frame]:
    moved: list[Frame] = []
    if not frames:
        return moved
    with source.open("rb") as old, target.open("ab") as new:
        for frame in frames:
            old.seek(frame.offset)
            moved.append(replace(frame, offset=new.tell()))
            new.write(old.read(frame.stored))
    return moved


def _compact(pack: Path, groups: Iterable[list[Frame]]) -> None:
    """Close the gaps between the frames that stay, and correct their offsets."""
    staying = [
        (frame.offset, group, number) for group in groups for number, frame in enumerate(group)
    ]
    end = 0
    with pack.open("r+b") as file:
        for offset, group, number in sorted(staying, key=lambda entry: entry[0]):
            frame = group[number]
            if offset != end:
                os.pwrite(file.fileno(), os.pread(file.fileno(), frame.stored, offset), end)
                group[number] = replace(frame, offset=end)
            end += frame.stored
        file.truncate(end)
    if not end:
        pack.unlink()
