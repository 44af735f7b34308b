"""Reading ranges of a file from its volumes."""

import io
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from three_backup.errors import BackupError
from three_backup.s3.download import read_range
from three_backup.s3.store import Store

from .conftest import Connect
from .files import PART, fetch, send

SMALL = 10
"""Bytes of a volume in the tests that write volumes one by one."""


@pytest.fixture
def small(store: Store) -> Store:
    """A store that holds 25 bytes in three volumes."""
    content = bytes(range(25))
    for number in range(3):
        volume = content[number * SMALL : (number + 1) * SMALL]
        store.write(f"small.{number + 1:05d}", volume)
    return store


@pytest.mark.parametrize(
    ("offset", "length", "requests"),
    [(0, 25, 3), (0, 10, 1), (9, 1, 1), (9, 2, 2), (10, 10, 1), (24, 1, 1), (7, 0, 0), (25, 0, 0)],
)
def test_a_range_is_read_from_the_volumes_it_lies_in(
    small: Store, offset: int, length: int, requests: int
) -> None:
    before = small.requests
    read = read_range(small, "small", SMALL, 25, offset, length)
    assert read == bytes(range(25))[offset : offset + length]
    assert small.requests - before == requests


@pytest.mark.parametrize(("offset", "length"), [(0, 26), (25, 1), (-1, 2), (30, 0)])
def test_a_range_beyond_the_file_is_an_error(small: Store, offset: int, length: int) -> None:
    with pytest.raises(BackupError, match="small") as caught:
        read_range(small, "small", SMALL, 25, offset, length)
    assert caught.value.code == "s3.range"


def test_a_volume_shorter_than_the_manifest_says_is_an_error(small: Store) -> None:
    small.write("small.00003", b"xyz")
    with pytest.raises(BackupError, match=r"small\.00003"):
        read_range(small, "small", SMALL, 25, 0, 25)


def test_a_volume_that_is_gone_is_named(small: Store) -> None:
    small.delete(["small.00002"])
    with pytest.raises(BackupError, match=r"small\.00002: nothing is stored"):
        read_range(small, "small", SMALL, 25, 0, 25)


def test_long_ranges_survive_answers_cut_short(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    uploaded = send(store, io.BytesIO(content[: 3 * PART]), journal)
    cut: set[str] = set()

    def cut_once(request: Request, forward: Forward) -> Answer:
        answer = forward()
        asked_for = request.path + request.headers["Range"]
        sent = None if asked_for in cut else len(answer.body) // 2
        cut.add(asked_for)
        return Answer(answer.status, answer.headers, answer.body, sent)

    with proxy(str(store.storage.endpoint), cut_once) as endpoint:
        assert fetch(connect(endpoint=endpoint), uploaded) == content[: 3 * PART]
