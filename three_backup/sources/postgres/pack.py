"""Read packs: files of independent zstd frames, written in one pass and read by ranges.

A frame is read with its sha256, and has to decompress to exactly the size that the index says.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.checked_file import DamagedError
from three_backup.sources.jobs import SnapshotFiles
from three_backup.sources.postgres.index import File, Frame, Group

FRAME_SIZE = 4 << 20
"""The most bytes that a frame holds, before compression."""

INCREMENT_FRAME_SIZE = 256 << 10
"""The same in an incremental: a restore takes from it what later ones did not change again."""

LARGEST_FILE = 1 << 30
"""The most bytes, uncompressed, of a file that is no pack: an index of ten million files."""

_own = threading.local()
"""The decompressor of each thread: to make one costs as much as a small frame."""

_FILE_LEVEL = 6
_READ_SIZE = 16 << 20
_READ_THROUGH = 128 << 10


@dataclass(frozen=True, slots=True)
class Slice:
    """The length bytes of file from file_offset on, which begin at frame_offset in a raw frame."""

    file: File
    file_offset: int
    frame_offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Need:
    """A frame that has to be read, and the slices that are wanted of it."""

    frame: Frame
    slices: tuple[Slice, ...]


def needs_of(groups: Sequence[Group], wanted: Iterable[File]) -> dict[str, list[Need]]:
    """Return the frames in which the files lie, by pack and in its order.

    A file of which nothing is stored here (group is None) needs none.
    """
    by_group: dict[int, list[File]] = {}
    for file in wanted:
        if file.group is not None:
            by_group.setdefault(file.group, []).append(file)
    needs: dict[str, list[Need]] = {}
    for number, files in by_group.items():
        group = groups[number]
        needs.setdefault(group.place.pack, []).extend(_frames_of(group, files))
    for frames in needs.values():
        frames.sort(key=lambda need: need.frame.offset)
    return needs


def runs(needs: Iterable[Need], most_raw: int | None = None) -> Iterator[list[Need]]:
    """Yield runs of neighbouring frames that are worth one read, in the order of the pack.

    most_raw: the bytes that a run may have when it is decompressed; None: any number.
    """
    run: list[Need] = []
    raw = 0
    for need in needs:
        raw += need.frame.raw
        if run and (not _joins(run, need.frame) or (most_raw is not None and raw > most_raw)):
            yield run
            run, raw = [], need.frame.raw
        run.append(need)
    if run:
        yield run


def length_of_run(run: Sequence[Need]) -> int:
    """Return the bytes of the pack from the run's first frame to the end of its last."""
    return _length([need.frame for need in run])


def read_frames(files: SnapshotFiles, pack: str, frames: Sequence[Frame]) -> list[memoryview]:
    """Return what is stored of neighbouring frames, by one read; each has its sha256."""
    start, ranges = frames[0].offset, [frame.in_pack for frame in frames]
    stored = memoryview(files.read_range(pack, start, _length(frames), ranges))
    return [stored[one.offset - start :][: one.size] for one in ranges]


def decompress_frame(pack: str, frame: Frame, stored: memoryview) -> bytes:
    """Return what a frame holds that has its sha256. Threads may do so in parallel.

    Raises BackupError if that is not what the index says.
    """
    import zstandard

    if not hasattr(_own, "zstd"):
        _own.zstd = zstandard.ZstdDecompressor()
    try:
        if zstandard.frame_content_size(stored) != frame.raw:
            raise _damaged(pack, frame, "it says another size")
        raw: bytes = _own.zstd.decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _damaged(pack, frame, str(error)) from error
    return raw


def damaged_groups(
    files: SnapshotFiles, groups: Sequence[Group]
) -> Iterator[tuple[int, BackupError]]:
    """Read every frame; yield the group's number and the error of each bad one."""
    needs: dict[str, list[tuple[int, Need]]] = {}
    for number, group in enumerate(groups):
        for frame in group.frames:
            needs.setdefault(group.place.pack, []).append((number, Need(frame, ())))
    for pack, frames in needs.items():
        frames.sort(key=lambda numbered: numbered[1].frame.offset)
        numbers = iter([number for number, _ in frames])
        for run in runs([need for _, need in frames]):
            yield from _damaged_in(files, pack, [(next(numbers), need.frame) for need in run])


def compress_file(body: bytes) -> bytes:
    """Return a small file as one zstd frame."""
    import zstandard

    return zstandard.ZstdCompressor(level=_FILE_LEVEL).compress(body)


def decompress_file(stored: bytes) -> bytes:
    """Undo compress_file(). Raises ValueError if it is damaged or above LARGEST_FILE."""
    import zstandard

    try:
        size = zstandard.frame_content_size(stored)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if not 0 <= size <= LARGEST_FILE:
        raise ValueError(f"it would have {size} bytes")
    try:
        return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _frames_of(group: Group, files: Iterable[File]) -> Iterator[Need]:
    """Return the frames of the group in which the files lie, each once."""
    ends = list(accumulate(frame.raw for frame in group.frames))
    slices: dict[int, list[Slice]] = {}
    for file in sorted(files, key=lambda file: file.offset):
        for number, piece in _slices(file, group.frames, ends):
            slices.setdefault(number, []).append(piece)
    return (Need(group.frames[number], tuple(found)) for number, found in slices.items())


def _slices(
    file: File, frames: Sequence[Frame], ends: Sequence[int]
) -> Iterator[tuple[int, Slice]]:
    """Cut the file at the borders of the frames; yield each frame's number and slice."""
    position, left = file.offset, file.size
    number = bisect_right(ends, position)
    while left:
        inside = position - (ends[number] - frames[number].raw)
        length = min(left, frames[number].raw - inside)
        yield number, Slice(file, file.size - left, inside, length)
        position, left, number = position + length, left - length, number + 1


def _joins(run: Sequence[Need], frame: Frame) -> bool:
    last = run[-1].frame
    return (
        frame.offset - (last.offset + last.stored) <= _READ_THROUGH
        and frame.offset + frame.stored - run[0].frame.offset <= _READ_SIZE
    )


def _length(frames: Sequence[Frame]) -> int:
    return frames[-1].offset + frames[-1].stored - frames[0].offset


def _damaged_in(
    files: SnapshotFiles, pack: str, run: Sequence[tuple[int, Frame]]
) -> Iterator[tuple[int, BackupError]]:
    """Yield the bad frames of a run, as the group's number and the error."""
    try:
        read_frames(files, pack, [frame for _, frame in run])
    except UnreachableError:
        raise
    except DamagedError as error:
        if len(run) == 1:
            yield run[0][0], error
            return
        for alone in run:
            yield from _damaged_in(files, pack, [alone])
    except BackupError as error:
        yield from ((number, error) for number, _ in run)


def _damaged(pack: str, frame: Frame, reason: str) -> BackupError:
    return BackupError(
        "postgres.pack_damaged",
        f"{pack}: the frame at byte {frame.offset} is damaged ({reason})",
        "restore another snapshot; the next base replaces it",
    )
