"""Writes packs: groups of bytes, cut into frames and compressed beside the stream they come from.

Memory is bounded: frames being filled hold `PENDING_SIZE` together, frames being compressed a few
times `FRAME_SIZE`, whatever the number and size of the groups.
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

from three_backup.sources.postgres.index import Frame, Group, Place
from three_backup.sources.postgres.pack import FRAME_SIZE

PENDING_SIZE = 32 << 20

_WINDOW_LOG = 19
"""Rows repeat what is close by. With 512 KiB to look back, and not the 2 MiB of the level, tables
compress faster and better, other data by 2 % less."""

_FASTEST = {"window_log": 18, "hash_log": 15, "min_match": 5}
"""Of level 1, whose own matches are longer than a number in a row. With these rows and indexes
become as small as with level 3, in half the time; text by a seventh larger."""

_NICENESS = 19
"""Threads that compress give way to those that receive and to the server that sends: with both
waiting for a core, nobody has anything to compress."""


@dataclass(slots=True)
class PackedGroup:
    """frames: in the order of the group's bytes, offsets in pack."""

    pack: str
    frames: list[Frame] = field(default_factory=list)


@dataclass(slots=True)
class _Filling:
    """What of a group is not cut into a frame yet, and how long the group is with it."""

    pieces: list[memoryview] = field(default_factory=list)
    pending: int = 0
    size: int = 0


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
    """Packs in a folder; a context manager, because threads compress for it."""

    def __init__(self, directory: Path, level: int, threads: int) -> None:
        self._directory = directory
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
        """The number of a new group, whose frames go to pack."""
        self._groups.append(PackedGroup(pack))
        self._filling.append(_Filling())
        return len(self._groups) - 1

    def size(self, group: int) -> int:
        """The bytes written to the group: where its next file begins."""
        return self._filling[group].size

    def write(self, group: int, piece: memoryview) -> None:
        """piece: at most a frame; kept, not copied."""
        filling = self._filling[group]
        length = len(piece)
        if filling.pending + length > FRAME_SIZE:
            self._cut(group)
        filling.pieces.append(piece)
        filling.pending += length
        filling.size += length
        self._pending += length
        if self._pending > PENDING_SIZE:
            self._cut_all()

    def finish(self) -> list[PackedGroup]:
        """Write what is left; every group by its number."""
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
        """Small frames travel to the threads together."""
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
    directory: Path, groups: Sequence[PackedGroup], places: Sequence[Place]
) -> tuple[Group, ...]:
    """Bring every group to the pack of its place, frame by frame as it is; NONE loses its frames.

    What leaves a pack leaves no trace in it. places: by the number of the group.
    """
    frames = [list(group.frames) for group in groups]
    emptied: dict[str, list[int]] = {}
    for number, (group, place) in enumerate(zip(groups, places, strict=True)):
        if place.pack == group.pack or not group.frames:
            continue
        emptied.setdefault(group.pack, [])
        moved = () if place is Place.NONE else frames[number]
        frames[number] = _append(directory / group.pack, directory / place.pack, moved)
    for number, place in enumerate(places):
        if place.pack in emptied:
            emptied[place.pack].append(number)
    for pack, staying in emptied.items():
        _compact(directory / pack, [frames[number] for number in staying])
    return tuple(Group(place, tuple(found)) for place, found in zip(places, frames, strict=True))


def _give_way() -> None:
    """Of Linux: the priority of this thread alone."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class _Compressor:
    """One zstd context a thread."""

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
