"""Read packs: files of independent zstd frames, written in one pass and read by ranges.

A frame's sha256 is checked before it is decompressed, and it has to decompress to exactly the
size that the index says.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from three_backup.errors import BackupError, UnreachableError
from three_backup.sources.jobs import SnapshotFiles
from three_backup.sources.postgres.index import File, Frame, Group

FRAME_SIZE = 4 << 20
"""The most bytes that a frame holds, before compression."""

LARGEST_FILE = 1 << 30
"""The most bytes, uncompressed, of a file that is no pack: an index of ten million files."""

_FILE_LEVEL = 6
_READ_SIZE = 16 << 20
_READ_THROUGH = 128 << 10


@dataclass(frozen=True, slots=True)
class _Slice:
    """The length bytes of file from file_offset on, which begin at frame_offset in a raw frame."""

    file: File
    file_offset: int
    frame_offset: int
    length: int


@dataclass(frozen=True, slots=True)
class _Need:
    """A frame that has to be read, and the slices that are wanted of it."""

    frame: Frame
    slices: tuple[_Slice, ...]


class PackReader:
    """A reader of files in the packs of one snapshot; bytes_read counts the fetched bytes."""

    def __init__(self, files: SnapshotFiles, groups: Sequence[Group]) -> None:
        self._files = files
        self._groups = groups
        self.bytes_read = 0

    def pieces(self, wanted: Iterable[File]) -> Iterator[tuple[File, int, memoryview]]:
        """Yield the contents of the files as (file, offset in it, bytes), in the packs' order.

        Pieces of one file come in ascending order without gaps, but pieces of other files may
        come between them. A file of which nothing is stored here (group is None) gives none.
        Raises BackupError if a frame is damaged or cannot be read.
        """
        for pack, needs in self._needs(wanted).items():
            for run in _runs(needs):
                yield from self._read_run(pack, run)

    def sizes(self, wanted: Iterable[File]) -> dict[str, int]:
        """Return how many bytes pieces() will read, by pack."""
        return {
            pack: sum(map(_length, _runs(needs))) for pack, needs in self._needs(wanted).items()
        }

    def _needs(self, wanted: Iterable[File]) -> dict[str, list[_Need]]:
        by_group: dict[int, list[File]] = {}
        for file in wanted:
            if file.group is not None:
                by_group.setdefault(file.group, []).append(file)
        needs: dict[str, list[_Need]] = {}
        for number, files in by_group.items():
            group = self._groups[number]
            needs.setdefault(group.place.pack, []).extend(_frames_of(group, files))
        for frames in needs.values():
            frames.sort(key=lambda need: need.frame.offset)
        return needs

    def _read_run(self, pack: str, run: Sequence[_Need]) -> Iterator[tuple[File, int, memoryview]]:
        start, length = run[0].frame.offset, _length(run)
        stored = memoryview(self._files.read_range(pack, start, length))
        self.bytes_read += length
        for need in run:
            offset = need.frame.offset - start
            raw = memoryview(_raw(pack, need.frame, stored[offset : offset + need.frame.stored]))
            for piece in need.slices:
                end = piece.frame_offset + piece.length
                yield piece.file, piece.file_offset, raw[piece.frame_offset : end]


def damaged_groups(
    files: SnapshotFiles, groups: Sequence[Group]
) -> Iterator[tuple[int, BackupError]]:
    """Read every frame; yield the group's number and the error of each bad one."""
    needs: dict[str, list[tuple[int, _Need]]] = {}
    for number, group in enumerate(groups):
        for frame in group.frames:
            needs.setdefault(group.place.pack, []).append((number, _Need(frame, ())))
    for pack, frames in needs.items():
        frames.sort(key=lambda numbered: numbered[1].frame.offset)
        numbers = iter([number for number, _ in frames])
        for run in _runs([need for _, need in frames]):
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
    return _decompress(stored, size)


def _frames_of(group: Group, files: Iterable[File]) -> Iterator[_Need]:
    """Return the frames of the group in which the files lie, each once."""
    ends = list(accumulate(frame.raw for frame in group.frames))
    slices: dict[int, list[_Slice]] = {}
    for file in sorted(files, key=lambda file: file.offset):
        for number, piece in _slices(file, group.frames, ends):
            slices.setdefault(number, []).append(piece)
    return (_Need(group.frames[number], tuple(found)) for number, found in slices.items())


def _slices(
    file: File, frames: Sequence[Frame], ends: Sequence[int]
) -> Iterator[tuple[int, _Slice]]:
    """Cut the file at the borders of the frames; yield each frame's number and slice."""
    position, left = file.offset, file.size
    number = bisect_right(ends, position)
    while left:
        inside = position - (ends[number] - frames[number].raw)
        length = min(left, frames[number].raw - inside)
        yield number, _Slice(file, file.size - left, inside, length)
        position, left, number = position + length, left - length, number + 1


def _runs(needs: Sequence[_Need]) -> Iterator[list[_Need]]:
    """Yield runs of neighbouring frames that are worth one read, in the order of the pack."""
    run: list[_Need] = []
    for need in needs:
        if run and not _joins(run, need.frame):
            yield run
            run = []
        run.append(need)
    if run:
        yield run


def _length(run: Sequence[_Need]) -> int:
    """Return the bytes of the pack from the run's first frame to the end of its last."""
    return run[-1].frame.offset + run[-1].frame.stored - run[0].frame.offset


def _joins(run: Sequence[_Need], frame: Frame) -> bool:
    last = run[-1].frame
    return (
        frame.offset - (last.offset + last.stored) <= _READ_THROUGH
        and frame.offset + frame.stored - run[0].frame.offset <= _READ_SIZE
    )


def _damaged_in(
    files: SnapshotFiles, pack: str, run: Sequence[tuple[int, Frame]]
) -> Iterator[tuple[int, BackupError]]:
    """Yield the bad frames of a run, as the group's number and the error."""
    start, last = run[0][1].offset, run[-1][1]
    try:
        stored = memoryview(files.read_range(pack, start, last.offset + last.stored - start))
    except UnreachableError:
        raise
    except BackupError as error:
        yield from ((number, error) for number, _ in run)
        return
    for number, frame in run:
        within = frame.offset - start
        if hashlib.sha256(stored[within : within + frame.stored]).digest() != frame.sha256:
            yield number, _damaged(pack, frame, "its sha256 is another")


def _raw(pack: str, frame: Frame, stored: memoryview) -> bytes:
    if hashlib.sha256(stored).digest() != frame.sha256:
        raise _damaged(pack, frame, "its sha256 is another")
    try:
        return _decompress(stored, frame.raw)
    except ValueError as error:
        raise _damaged(pack, frame, str(error)) from error


def _decompress(stored: bytes | memoryview, raw_size: int) -> bytes:
    """Decompress a frame. Raises ValueError if it does not hold exactly raw_size bytes."""
    import zstandard

    try:
        if zstandard.frame_content_size(stored) != raw_size:
            raise ValueError("it says another size")
        return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _damaged(pack: str, frame: Frame, reason: str) -> BackupError:
    return BackupError(
        "postgres.pack_damaged",
        f"{pack}: the frame at byte {frame.offset} is damaged ({reason})",
        "restore another snapshot, or this one from its other copy",
    )
