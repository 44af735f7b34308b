"""What each link of a chain gives of one file, when the newest link comes first.

A block that a newer link gave hides that of older ones, as in pg_combinebackup: so each is written
once, and what is hidden need not even be read.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import crc32c

from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.links import size_of
from three_backup.sources.postgres.increment import BLOCK_SIZE, Header, read_header
from three_backup.sources.postgres.index import File, Form


@dataclass(slots=True)
class _Run:
    """Neighbouring bytes of what is stored that stay neighbours in the file."""

    start: int  # in what is stored
    length: int
    target: int  # in the file

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(slots=True)
class _Layer:
    """What one link gives, while it arrives."""

    file: File
    runs: list[_Run] | None  # what shows, ascending; None until the header of an increment came
    header: bytearray = field(default_factory=bytearray)
    end: int = 0  # of the bytes that came last
    checksum: int | None = 0  # CRC-32C of all bytes until end; None where some never came


class LayeredFile:
    """A file that is put together from its layers, the newest first."""

    def __init__(self, newest: File) -> None:
        """newest: as the newest link has the file."""
        self.length = size_of(newest)
        self.checksum: int | None = None  # CRC-32C of the whole, where one link gives all of it
        # Older links give no block behind this many; None: as many as they have.
        self._most = newest.blocks if newest.form is Form.UNCHANGED else None
        self._given: bytearray | None = None  # a bit for each block that an increment gave
        self._layer: _Layer | None = None  # the one that came last

    @property
    def has_begun(self) -> bool:
        return self._layer is not None

    def shows(self, file: File, offset: int, length: int) -> bool:
        """Tell whether bytes of what is stored of a layer may be part of the file."""
        layer = self._layer
        if layer is None or layer.file is not file or layer.runs is None:
            return True
        return next(_within(layer.runs, offset, length), None) is not None

    def add(self, file: File, offset: int, piece: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Take a piece of what is stored of a layer; yield what shows of it, and where.

        Raises BackupError if the layer is damaged.
        """
        layer = self._layer
        if layer is None or layer.file is not file:
            layer = self._layer = self._begin(file)
        _count(layer, offset, piece)
        if layer.runs is None:
            self._read_header(layer, piece)
        for run in _within(layer.runs or (), offset, len(piece)):
            start, end = max(run.start, offset), min(run.end, offset + len(piece))
            yield run.target + start - run.start, piece[start - offset : end - offset]

    def _begin(self, file: File) -> _Layer:
        if file.form is Form.BLOCKS:
            return _Layer(file, None)
        if self._given is None and file.size == self.length:
            self.checksum = file.crc32c
            return _Layer(file, [_Run(0, file.size, 0)])
        blocks = file.size // BLOCK_SIZE
        shown = (block for block in range(blocks) if not self._hides(block))
        return _Layer(file, _merged((block * BLOCK_SIZE, block) for block in shown))

    def _read_header(self, layer: _Layer, piece: memoryview) -> None:
        """Find out what shows of an increment, once its header has come."""
        layer.header += piece
        try:
            header = read_header(layer.header, layer.file.size)
        except ValueError as error:
            raise damaged(layer.file.path, str(error)) from error
        if header is None:
            return
        layer.header.clear()
        if (max(header.numbers, default=-1) + 1) * BLOCK_SIZE > self.length and self._is_newest:
            raise damaged(layer.file.path, "it has blocks behind its end")
        layer.runs = _merged(self._shown(header))

    @property
    def _is_newest(self) -> bool:
        """Whether the first increment is the one that has come."""
        return self._given is None and self._most is None

    def _shown(self, header: Header) -> list[tuple[int, int]]:
        """Return offset and number of the blocks that show, and have them hide older ones."""
        offsets = range(header.size, header.size + len(header.numbers) * BLOCK_SIZE, BLOCK_SIZE)
        shown = list(zip(offsets, header.numbers, strict=True))
        if self._is_newest:
            self._most = header.least
        else:
            shown = [(offset, block) for offset, block in shown if not self._hides(block)]
        if self._given is None:
            self._given = bytearray(-(-self.length // (8 * BLOCK_SIZE)))
        for _, block in shown:
            self._given[block >> 3] |= 1 << (block & 7)
        return shown

    def _hides(self, block: int) -> bool:
        """Tell whether newer links leave nothing of the block of an older one."""
        if self._most is not None and block >= self._most:
            return True
        return self._given is not None and bool(self._given[block >> 3] & 1 << (block & 7))


def damaged(path: str, why: str) -> BackupError:
    return BackupError(
        "postgres.file_damaged",
        f"postgres: {path} in the snapshot is damaged ({why})",
        "restore another snapshot",
    )


def _count(layer: _Layer, offset: int, piece: memoryview) -> None:
    """Add the piece to the checksum, and compare that at the end of the file."""
    if offset != layer.end:
        layer.checksum = None
    elif layer.checksum is not None:
        layer.checksum = crc32c.crc32c(piece, layer.checksum)
    layer.end = offset + len(piece)
    if layer.end == layer.file.size and layer.checksum not in (None, layer.file.crc32c):
        raise damaged(layer.file.path, "its checksum is another")


def _merged(blocks: Iterable[tuple[int, int]]) -> list[_Run]:
    """Join neighbours among blocks, each given as its offset in what is stored and its number."""
    runs: list[_Run] = []
    for offset, block in blocks:
        last = runs[-1] if runs else None
        target = block * BLOCK_SIZE
        if last and last.end == offset and last.target + last.length == target:
            last.length += BLOCK_SIZE
        else:
            runs.append(_Run(offset, BLOCK_SIZE, target))
    return runs


def _within(runs: Sequence[_Run], offset: int, length: int) -> Iterator[_Run]:
    """Yield the runs that have bytes of the range."""
    for number in range(bisect_right(runs, offset, key=lambda run: run.end), len(runs)):
        if runs[number].start >= offset + length:
            return
        yield runs[number]
