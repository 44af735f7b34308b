"""The fast reading of key lists, and unusual lists that are left to botocore."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from three_backup.errors import BackupError
from three_backup.s3 import listing
from three_backup.s3.store import Store

from .conftest import Connect

KEYS = ["a<b", "a&b", "a&amp;b", "plain", "ä", "two words", "pro%41cent"]


def unusual(old: bytes, new: bytes) -> Callable[[Request, Forward], Answer]:
    def meddle(request: Request, forward: Forward) -> Answer:
        answer = forward()
        if not request.is_("GET", "list-type"):
            return answer
        assert old in answer.body
        return replace(answer, body=answer.body.replace(old, new))

    return meddle


@pytest.fixture
def filled(store: Store) -> Store:
    for key in KEYS:
        store.write(key, key.encode())
    return store


def test_keys_are_read_whatever_is_in_them(filled: Store) -> None:
    found = {entry.key: entry for entry in filled.all_keys("")}
    assert set(found) == set(KEYS)
    assert [found[key].size for key in KEYS] == [len(key.encode()) for key in KEYS]
    assert all(entry.modified.tzinfo for entry in found.values())


def test_they_are_read_as_botocore_reads_them(
    filled: Store, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = list(filled.all_keys(""))
    monkeypatch.setattr("three_backup.s3.client.read_plainly", lambda **_: None)
    assert list(connect().all_keys("")) == ours


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<Key>", b"<Key ><!-- of the server -->"),
        (b"<Contents>", b"<Contents a='1'>"),
        (b"<Contents>", b"<Contents><Key>another</Key>"),
        (b"</Contents>", b"</Contents><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"),
    ],
)
def test_an_unusual_answer_is_left_to_botocore(
    filled: Store, connect: Connect, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes
) -> None:
    read: list[bool] = []

    def watched(**told: Any) -> None:
        listing.read_plainly(**told)
        read.append("Contents" in told["customized_response_dict"])

    monkeypatch.setattr("three_backup.s3.client.read_plainly", watched)
    with proxy(str(filled.storage.endpoint), unusual(old, new)) as endpoint:
        found = list(connect(endpoint=endpoint).all_keys(""))
    assert read == [False]
    assert len(found) == len(KEYS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"</Size>", b"</Size >"),
        (b"<Size>", b"<Size> "),
        (b"Z</LastModified>", b"</LastModified>"),
        (b"<LastModified>", b"<LastModified> "),
        (b"</Size>", b"</Size><Owner><DisplayName>a &amp; b</DisplayName></Owner>"),
    ],
)
def test_unusual_entries_are_read_as_botocore_reads_them(
    filled: Store, connect: Connect, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes
) -> None:
    with proxy(str(filled.storage.endpoint), unusual(old, new)) as endpoint:
        ours = connect(endpoint=endpoint)
        entries, names = list(ours.all_keys("")), list(ours.all_names(""))
        monkeypatch.setattr("three_backup.s3.client.read_plainly", lambda **_: None)
        theirs = connect(endpoint=endpoint)
        assert entries == list(theirs.all_keys(""))
        assert names == list(theirs.all_names("")) == [entry.key for entry in entries]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<Size>", b"<Size>many "),
        (b"<LastModified>", b"<LastModified>soon, not "),
        (b"<Size>", b"<size>"),
        (b"<LastModified>", b"<Modified>1</Modified><!-- "),
    ],
)
def test_entries_that_cannot_be_read_are_no_answer_of_an_s3_server(
    filled: Store, connect: Connect, old: bytes, new: bytes
) -> None:
    with (
        proxy(str(filled.storage.endpoint), unusual(old, new)) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        list(connect(endpoint=endpoint).all_keys(""))
    assert caught.value.code == "s3.not_s3"
