"""What WAL is called: positions, segments, pieces, timelines, and what a listing of it covers."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import BackupError
from three_backup.sources.postgres.wal.coverage import Stretch, stretch_at, stretches
from three_backup.sources.postgres.wal.names import (
    LARGEST_PIECE,
    Piece,
    Segment,
    common_prefix,
    cut,
    lsn,
    position,
)
from three_backup.sources.postgres.wal.timelines import Leg, Way, way_to

MB = 1 << 20
SEGMENT_SIZES = st.sampled_from([MB << n for n in range(11)])
POSITIONS = st.integers(0, (1 << 63) - 1)
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@given(POSITIONS)
def test_a_position_is_read_back(number: int) -> None:
    assert position(lsn(number)) == number


def test_a_position_is_written_as_the_server_does() -> None:
    assert lsn(0x1_016C3B28) == "1/16C3B28"
    assert position("0/16C3B28") == 0x16C3B28


@pytest.mark.parametrize("text", ["", "16C3B28", "0/", "0/123456789", "x/1", "0/1 "])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        position(text)


@given(st.integers(1, (1 << 32) - 1), POSITIONS, SEGMENT_SIZES)
def test_a_segment_is_read_back(timeline: int, within: int, size: int) -> None:
    segment = Segment(timeline, within // size * size)
    assert Segment.parse(segment.name(size), size) == segment


@pytest.mark.parametrize(
    ("name", "size", "start"),
    [
        ("000000010000000000000001", 16 * MB, 16 * MB),  # as pg_walfile_name says of 0/1000000
        ("00000001000000010000000A", 16 * MB, (1 << 32) + 160 * MB),
        ("000000020000000100000003", 1024 * MB, (1 << 32) + 3 * 1024 * MB),
    ],
)
def test_a_segment_begins_where_the_server_says(name: str, size: int, start: int) -> None:
    segment = Segment.parse(name, size)
    assert segment is not None
    assert segment.start == start


@pytest.mark.parametrize(
    "name",
    [
        "00000001.history",
        "000000010000000000000001.partial",
        "000000010000000000000001.00000028.backup",
        "000000000000000000000001",
        "000000010000000000000100",
        "00000001000000000000000g",
    ],
)
def test_what_is_no_segment_is_none(name: str) -> None:
    assert Segment.parse(name, 16 * MB) is None


@given(POSITIONS, st.integers(1, 100 * MB), SEGMENT_SIZES)
def test_pieces_are_joined_to_what_was_cut(start: int, size: int, segment: int) -> None:
    pieces = list(cut(start, start + size, segment))
    assert pieces[0][0] == start
    assert pieces[-1][1] == start + size
    assert all(one[1] == other[0] for one, other in itertools.pairwise(pieces))
    for begin, end in pieces:
        piece = Piece(1, begin, end)
        assert Piece.parse(piece.key) == piece
        assert begin // segment == (end - 1) // segment
        assert begin // LARGEST_PIECE == (end - 1) // LARGEST_PIECE


@pytest.mark.parametrize(
    "key",
    [
        "00000001/0000000001000000-0000000001000000.zst",
        "00000001/0000000001000001-0000000002000001.zst",
        "00000000/0000000001000000-0000000002000000.zst",
        "00000001/0000000001000000-0000000002000000",
        "00000001.history",
    ],
)
def test_what_is_no_piece_is_none(key: str) -> None:
    assert Piece.parse(key) is None


@given(POSITIONS, st.integers(1, 1 << 40), st.data())
def test_keys_of_a_range_begin_alike(start: int, size: int, data: st.DataObject) -> None:
    prefix = common_prefix(start, start + size)
    within = data.draw(st.integers(start, start + size - 1))
    assert f"{within:016X}".startswith(prefix)


def test_a_first_timeline_needs_no_history() -> None:
    assert way_to(1, {}) == Way((Leg(1, 0, None),))


def test_a_way_is_what_the_servers_history_file_says() -> None:
    history = b"1\t0/3000000\tno recovery target specified\n\n# ours\n2\t0/50001A0\tbefore x\n"
    way = way_to(3, {3: history})
    assert way.legs == (
        Leg(1, 0, 0x3000000),
        Leg(2, 0x3000000, 0x50001A0),
        Leg(3, 0x50001A0, None),
    )
    assert way.at(0x2FFFFFF) == 1
    assert way.at(0x3000000) == 2
    assert way.at(1 << 40) == 3
    assert way.passes(1, 0x3000000)
    assert not way.passes(1, 0x3000001)
    assert not way.passes(2, 0x5000200)


@pytest.mark.parametrize("history", [b"2\t0/3000000\t\n", b"1 nowhere\n"])
def test_a_malformed_history_is_an_error(history: bytes) -> None:
    with pytest.raises(BackupError, match=r"00000002\.history"):
        way_to(2, {2: history})


def test_a_missing_history_is_an_error_with_a_remedy() -> None:
    with pytest.raises(BackupError, match=r"lacks 00000002\.history.*tb-wal pull"):
        way_to(2, {})


def test_gaps_lie_between_stretches() -> None:
    pieces = [
        Piece(1, 0, 4, at=NOON),
        Piece(1, 2, 8, at=NOON),  # repeats a part of the one before
        Piece(1, 12, 16, at=NOON),
    ]
    found = stretches(pieces, way_to(1, {}))
    assert found == [Stretch(0, 8, NOON), Stretch(12, 16, NOON)]
    assert stretch_at(found, 8) == found[0]
    assert stretch_at(found, 9) is None
    assert stretch_at(found, 12) == found[1]


def test_what_an_abandoned_timeline_wrote_after_the_switch_does_not_count() -> None:
    way = way_to(2, {2: b"1\t0/A\t\n"})
    pieces = [Piece(1, 0, 16), Piece(2, 0, 12), Piece(2, 20, 24)]
    assert [(found.start, found.end) for found in stretches(pieces, way)] == [(0, 12), (20, 24)]


def test_a_gap_before_a_switch_is_one() -> None:
    way = way_to(2, {2: b"1\t0/A\t\n"})
    found = stretches([Piece(1, 0, 8), Piece(2, 10, 12)], way)
    assert [(stretch.start, stretch.end) for stretch in found] == [(0, 8), (10, 12)]
