"""Data in packs is read back by ranges exactly as written, or refused."""

import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.catalog.one_range import Copy, OneRange
from three_backup.errors import BackupError
from three_backup.model.hashed_stream import HashedRange
from three_backup.model.snapshots import Manifest
from three_backup.s3.mended import Mended
from three_backup.sources.postgres.chain.reading import batches, read_ahead, sizes
from three_backup.sources.postgres.index import File, Form, Group, Tier
from three_backup.sources.postgres.pack import (
    FRAME_SIZE,
    compress_file,
    decompress_file,
)
from three_backup.sources.postgres.taking.packing import PENDING_SIZE, PackWriter, move_groups
from three_backup.sources.postgres.taking.split import PENDING

_PLACES = st.sampled_from(Tier)


@dataclass
class _Folder:
    """Packs in a folder."""

    path: Path
    # Every range that was asked for: name, offset, length.
    reads: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def manifest(self) -> Manifest:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def read_range(
        self, name: str, offset: int, length: int, pieces: Sequence[HashedRange] = ()
    ) -> bytes:
        self.reads.append((name, offset, length))
        body = (self.path / name).read_bytes()
        wanted = OneRange(name, offset, length, pieces, Mended())
        found = wanted.read(Copy(None, lambda offset, length: body[offset : offset + length]))
        if found is None:
            raise wanted.failure()
        return bytes(found)

    def place(self, name: str) -> str:
        return "local"


@given(
    st.lists(st.tuples(_PLACES, _PLACES), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.binary(min_size=1, max_size=300)), max_size=40),
)
def test_files_come_back_from_where_their_groups_were_moved(
    moves: list[tuple[Tier, Tier]], bodies: list[tuple[int, bytes]]
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        packs = [_pending_or_pack(first) for first, _ in moves]
        files, groups = _pack(folder, packs, bodies, [last for _, last in moves])
        kept = [
            (file, body)
            for file, (_, body) in zip(files, bodies, strict=True)
            if file.place is not Tier.NONE
        ]
        found = _read(_Folder(folder), groups, [file for file, _ in kept])
        assert found == {file.path: body for file, body in kept}
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        assert sizes == {
            place.pack: size
            for place in Tier
            if (size := sum(f.stored for g in groups if g.place is place for f in g.frames))
        }


def test_a_large_file_is_cut_into_frames_and_comes_back(tmp_path: Path) -> None:
    body = bytes(range(256)) * (5 * FRAME_SIZE // 512)
    pieces = [(0, body[start : start + 32768]) for start in range(0, len(body), 32768)]
    files, groups = _pack(tmp_path, [Tier.S3.pack], pieces, [Tier.S3])
    whole = replace(files[0], size=len(body))
    assert [frame.raw for frame in groups[0].frames] == [FRAME_SIZE, FRAME_SIZE, FRAME_SIZE // 2]
    assert _read(_Folder(tmp_path), groups, [whole]) == {"0": body}


def test_only_the_frames_of_the_wanted_file_are_read(tmp_path: Path) -> None:
    bodies = [(number, bytes([number]) * 1000) for number in range(3)]
    files, groups = _pack(tmp_path, [Tier.S3.pack] * 3, bodies, [Tier.S3] * 3)
    folder = _Folder(tmp_path)
    assert _read(folder, groups, [files[1]]) == {"1": bodies[1][1]}
    frame = groups[1].frames[0]
    assert folder.reads == [(Tier.S3.pack, frame.offset, frame.stored)]
    assert sizes(groups, [files[1]], lambda need: True) == {Tier.S3.pack: frame.stored}


def test_neighbouring_frames_are_one_read(tmp_path: Path) -> None:
    bodies = [(number, bytes([number]) * 1000) for number in range(50)]
    files, groups = _pack(tmp_path, [Tier.S3.pack] * 50, bodies, [Tier.S3] * 50)
    folder = _Folder(tmp_path)
    assert len(_read(folder, groups, files)) == 50
    assert len(folder.reads) == 1


def test_many_half_filled_groups_are_written_before_they_fill_the_memory(tmp_path: Path) -> None:
    piece = memoryview(bytes(64 << 10))
    with PackWriter(tmp_path, 1, 2) as packs:
        groups = [packs.begin_group(Tier.S3.pack) for _ in range(600)]
        for group in groups:
            packs.write(group, piece)
        packed = packs.finish()
    early = PENDING_SIZE // len(piece)
    order = sorted(groups, key=lambda group: packed[group].frames[0].offset)
    assert order[: early - 1] == groups[: early - 1]
    assert all(sum(frame.raw for frame in group.frames) == len(piece) for group in packed)


def test_the_first_level_makes_indexes_as_small_as_the_third(tmp_path: Path) -> None:
    stored = []
    for level in (1, 3):
        folder = tmp_path / str(level)
        folder.mkdir()
        with PackWriter(folder, level, 1) as packs:
            group = packs.begin_group(Tier.S3.pack)
            for page in _leaves_of_an_index(200):
                packs.write(group, memoryview(page))
            stored.append(sum(frame.stored for frame in packs.finish()[group].frames))
    assert stored[0] <= 1.03 * stored[1]


def test_threads_that_compress_give_way_to_the_one_that_receives(tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with PackWriter(tmp_path, 1, 1) as packs:
        packs.write(packs.begin_group(Tier.S3.pack), memoryview(b"abc"))
        packs.finish()
        threads = [
            thread for thread in threading.enumerate() if thread.name.startswith("compress")
        ]
        given_way = [os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) for thread in threads]
    assert given_way == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@given(st.data())
def test_a_damaged_frame_is_an_error_not_a_wrong_file(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        files, groups = _pack(folder, [Tier.S3.pack], [(0, b"abc" * 99)], [Tier.S3])
        pack = folder / Tier.S3.pack
        body = bytearray(pack.read_bytes())
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
        pack.write_bytes(body)
        with pytest.raises(BackupError, match="is damaged"):
            _read(_Folder(folder), groups, files)


def test_a_frame_of_another_size_than_the_index_says_is_an_error(tmp_path: Path) -> None:
    files, groups = _pack(tmp_path, [Tier.S3.pack], [(0, b"abc" * 99)], [Tier.S3])
    lying = Group(Tier.S3, (replace(groups[0].frames[0], raw=300),))
    with pytest.raises(BackupError, match="says another size"):
        _read(_Folder(tmp_path), (lying,), files)


def test_a_small_file_comes_back() -> None:
    assert decompress_file(compress_file(b"manifest")) == b"manifest"


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"no zstd at all",
        compress_file(b"manifest" * 9)[:-3],
        compress_file(b"manifest") + b"x",
        # a frame that says it holds 2 GiB
        bytes.fromhex("28b52ffd a0 00000080"),
    ],
)
def test_a_small_file_that_is_damaged_or_a_bomb_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"frame|zstd|bytes|size"):
        decompress_file(stored)


def _leaves_of_an_index(count: int) -> Iterator[bytes]:
    """Yield leaves of a primary key: pointers from the front, rows and their keys from the end."""
    for leaf in range(count):
        numbers = range(leaf * 366, (leaf + 1) * 366)
        tuples = [struct.pack("<HHHHq", 0, n // 80, n % 80 + 1, 16, n) for n in reversed(numbers)]
        pointers = struct.pack("<366H", *(0x9FE0 - 16 * n for n in range(366)))
        yield bytes(24) + (pointers + b"".join(tuples)).rjust(8168, b"\0")


def _pending_or_pack(place: Tier) -> str:
    return PENDING if place is Tier.NONE else place.pack


def _pack(
    folder: Path, packs: list[str], bodies: list[tuple[int, bytes]], places: list[Tier]
) -> tuple[list[File], tuple[Group, ...]]:
    """Write each body as a file into its group; move the groups to their places."""
    files = []
    with PackWriter(folder, 3, 2) as writer:
        groups = [writer.begin_group(pack) for pack in packs]
        for number, (group, body) in enumerate(bodies):
            group %= len(groups)
            offset = writer.size(group)
            writer.write(group, memoryview(body))
            stored = (len(body), 0, group, offset)
            files.append(File(str(number), Form.FULL, places[group], *stored))
        packed = writer.finish()
    return files, move_groups(folder, packed, places)


def _read(folder: _Folder, groups: tuple[Group, ...], files: list[File]) -> dict[str, bytes]:
    found = dict.fromkeys((file.path for file in files), b"")
    for pieces in read_ahead(batches(folder, groups, files)):
        for file, offset, piece in pieces:
            assert offset == len(found[file.path]), "pieces come in order and without gaps"
            found[file.path] += piece
    return found
