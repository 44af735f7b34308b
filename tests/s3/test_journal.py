"""A journal tells what happened, wherever it was cut short."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.s3.journal import Journal, Plan, SentPart, VolumeProgress, begun, read

PLAN = Plan("bucket", "prefix", "data/a/file", 5, 2)
PART = SentPart(5, "0" * 32, "0" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a" / "file.journal"


def volumes(path: Path) -> dict[int, VolumeProgress]:
    written = read(path)
    assert written is not None
    return written.volumes


def test_what_happened_is_read_back(path: Path) -> None:
    with Journal(path, PLAN) as journal:
        journal.opened(1, "first")
        journal.sent(1, 2, PART)
        journal.sent(1, 1, PART)
        journal.completed(1)
        journal.opened(2, "second")
        journal.dropped(2)
        journal.sent(3, 1, PART)
    expected = {
        1: VolumeProgress("first", {1: PART, 2: PART}, complete=True),
        3: VolumeProgress(None, {1: PART}),
    }
    assert volumes(path) == expected
    with Journal(path, PLAN) as again:
        assert again.volumes == expected
    assert volumes(path) == expected


def test_a_volume_opened_again_knows_nothing_of_its_former_parts(path: Path) -> None:
    with Journal(path, PLAN) as journal:
        journal.opened(1, "first")
        journal.sent(1, 1, PART)
        journal.opened(1, "again")
    assert volumes(path) == {1: VolumeProgress("again")}


def test_every_line_is_on_disk_at_once(path: Path) -> None:
    with Journal(path, PLAN) as journal:
        journal.opened(1, "first")
        assert volumes(path) == {1: VolumeProgress("first")}


@pytest.mark.parametrize("tail", [b"", bytes(50), b"\xff\n", b"[]\n", b'{"vol', b"1\n"])
def test_a_torn_journal_tells_what_was_whole(path: Path, tail: bytes) -> None:
    with Journal(path, PLAN) as journal:
        journal.opened(1, "first")
        journal.sent(1, 1, PART)
    whole = path.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole), 9):
        path.write_bytes(whole[:cut] + tail)
        told = volumes(path)
        assert told in ({}, {1: VolumeProgress("first")})
        with Journal(path, PLAN) as journal:
            journal.opened(2, "second")
        assert volumes(path) == {**told, 2: VolumeProgress("second")}


def test_what_is_no_journal_is_none(path: Path) -> None:
    path.parent.mkdir()
    for body in (b"", b"\n", b"{}\n", b"[]\n", b'{"v":2}\n', bytes(20), b"\xff\xfe\n"):
        path.write_bytes(body)
        assert read(path) is None
    assert begun(path.parent) == []


def test_begun_uploads_are_listed_by_their_age(tmp_path: Path) -> None:
    newest = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    for name, age in (("young", 1), ("old", 3), ("middle", 2)):
        path = tmp_path / name / "file.journal"
        Journal(path, PLAN).__exit__(None, None, None)
        written = (newest - timedelta(hours=age)).timestamp()
        os.utime(path, (written, written))
    found = begun(tmp_path)
    assert [upload.journal.parent.name for upload in found] == ["old", "middle", "young"]
    assert found[0].newest_write == newest - timedelta(hours=3)
    assert found[0].plan == PLAN


def test_without_a_folder_nothing_has_begun(tmp_path: Path) -> None:
    assert begun(tmp_path / "none") == []
