"""The layers of one file: the blocks that each link of a chain holds of it.

A block that a newer link gave hides that of older ones, as in pg_combinebackup. So once the
headers of the increments are known, each block has one place to come from: it is written once, and
what is hidden need not even be read.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import crc32c

from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.links import size_of
from three_backup.sources.postgres.increment import BLOCK_SIZE, Header, read_header
from three_backup.sources.postgres.index import File, Form


class _Runs:
    """Runs of neighbouring bytes of what is stored that stay neighbours in the file, ascending.

    There can be one for each changed block of a cluster, so they are kept as bare numbers.
    """

    def __init__(self) -> None:
        self.starts = array("Q")  # in what is stored, bytes
        self.ends = array("Q")
        self.targets = array("Q")  # where the run begins in the file

    def add(self, start: int, length: int, target: int) -> None:
        if self.ends and self.ends[-1] == start and self._target_end == target:
            self.ends[-1] += length
        else:
            self.starts.append(start)
            self.ends.append(start + length)
            self.targets.append(target)

    def within(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yield start, end and target of what runs have of a range."""
        end = offset + length
        for number in range(bisect_right(self.ends, offset), len(self.ends)):
            start = self.starts[number]
            if start >= end:
                return
            first = max(start, offset)
            yield first, min(self.ends[number], end), self.targets[number] + first - start

    @property
    def _target_end(self) -> int:
        return self.targets[-1] + self.ends[-1] - self.starts[-1]


@dataclass(slots=True)
class _Layer:
    """The blocks that one link holds."""

    file: File
    runs: _Runs | None  # what shows; None until the header of an increment has come
    header: bytearray = field(default_factory=bytearray)
    end: int = 0  # of the bytes that came last
    checksum: int | None = 0  # CRC-32C of all bytes until end; None where some did not come


class LayeredFile:
    """A file that is put together from layers, of which the newest begins first."""

    def __init__(self, newest: File) -> None:
        """newest: as the newest link has the file."""
        self.length = size_of(newest)
        # Older links give no block behind this many; None: as many as they have.
        self._most = newest.blocks if newest.form is Form.UNCHANGED else None
        self._given: bytearray | None = None  # 1 for each block that an increment gave, else 0
        self._layers: dict[int, _Layer] = {}  # by the identity of what a link has of the file

    @property
    def checksum(self) -> int | None:
        """Return the CRC-32C of the whole file, if it was taken while it came."""
        if not self.length:
            return 0
        return None if self._whole is None else self._whole.checksum

    def check(self, checksum: int) -> None:
        """Raise BackupError if a link tells another CRC-32C of the finished file."""
        if self._whole is not None and checksum != self._whole.file.crc32c:
            raise damaged(self._whole.file.path, "its checksum is another")

    @property
    def _whole(self) -> _Layer | None:
        """The layer that gives all of the file, if one does."""
        if len(self._layers) != 1 or self._given is not None:
            return None
        (layer,) = self._layers.values()
        return layer if layer.file.size == self.length else None

    def shows(self, file: File, offset: int, length: int) -> bool:
        """Tell whether the file has bytes of this range of a layer; all newer ones have begun."""
        runs = self._layer(file).runs
        return runs is None or next(runs.within(offset, length), None) is not None

    def add(self, file: File, offset: int, piece: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Take a piece of a layer; yield where something of it shows, and that.

        Raises BackupError if the layer is damaged.
        """
        layer = self._layer(file)
        _count(layer, offset, piece)
        if layer.runs is None:
            self._read_header(layer, piece)
        if layer.runs is not None:
            for start, end, target in layer.runs.within(offset, len(piece)):
                yield target, piece[start - offset : end - offset]

    def _layer(self, file: File) -> _Layer:
        layer = self._layers.get(id(file))
        if layer is None:
            runs = None if file.form is Form.BLOCKS else self._shown_of_whole(file)
            layer = self._layers[id(file)] = _Layer(file, runs)
        return layer

    def _shown_of_whole(self, file: File) -> _Runs:
        runs = _Runs()
        if self._given is None and file.size == self.length:
            runs.add(0, file.size, 0)
            return runs
        end = file.size // BLOCK_SIZE if self._most is None else self._most
        end = min(end, file.size // BLOCK_SIZE)
        given = bytes(end) if self._given is None else self._given
        first = given.find(0, 0, end)
        while first >= 0:
            hidden = given.find(1, first, end)
            after = end if hidden < 0 else hidden
            runs.add(first * BLOCK_SIZE, (after - first) * BLOCK_SIZE, first * BLOCK_SIZE)
            first = given.find(0, after, end)
        return runs

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
        blocks = self._shown_of_increment(header)
        last = max((block for _, block in blocks), default=-1)
        if max(self._most or 0, last + 1) * BLOCK_SIZE > self.length:
            raise damaged(layer.file.path, "it has blocks behind its end")
        layer.runs, given = _Runs(), self._given or bytearray(self.length // BLOCK_SIZE)
        for offset, block in blocks:
            layer.runs.add(offset, BLOCK_SIZE, block * BLOCK_SIZE)
            given[block] = 1
        self._given = given

    def _shown_of_increment(self, header: Header) -> list[tuple[int, int]]:
        """Return offset and number of the blocks that no newer link hides."""
        offsets = range(header.size, header.size + len(header.numbers) * BLOCK_SIZE, BLOCK_SIZE)
        blocks = zip(offsets, header.numbers, strict=True)
        if self._given is None and self._most is None:  # the newest link
            self._most = header.least
            return list(blocks)
        most = self.length // BLOCK_SIZE if self._most is None else self._most
        given = self._given or bytes(most)
        return [(offset, block) for offset, block in blocks if block < most and not given[block]]


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
