"""A server copies a key between two places of ours, and tells if it did not."""

from collections.abc import Callable

import pytest

from three_backup.errors import BackupError
from three_backup.s3.failures import MissingError
from three_backup.s3.multipart import begin, keys_of_open_uploads
from three_backup.s3.server_copy import is_one_server, server_copy
from three_backup.s3.store import Store

from .conftest import Connect

_MIB = 1 << 20
_KEY = "data/file.00001"


@pytest.mark.parametrize("size", [0, 1, 5 * _MIB, 12 * _MIB + 7])
def test_a_key_arrives_as_it_is_whatever_lay_there(
    connect: Connect, content: bytes, size: int
) -> None:
    first, copies = connect(), connect(prefix="copies")
    body = (content * 2)[:size]
    first.write(_KEY, body)
    copies.write(_KEY, b"half of it")
    _ = begin(copies, _KEY)  # what a killed copy leaves
    server_copy(first, copies, _KEY, size, piece=5 * _MIB)
    assert copies.read(_KEY) == body
    assert first.read(_KEY) == body
    if size > 5 * _MIB:
        assert keys_of_open_uploads(copies, "data/") == []


def test_a_key_that_is_missing_or_another_than_it_was_is_told(connect: Connect) -> None:
    first, copies = connect(), connect(prefix="copies")
    with pytest.raises(MissingError):
        server_copy(first, copies, _KEY, 1)
    first.write(_KEY, b"shorter")
    with pytest.raises(BackupError, match="did not copy all of it"):
        server_copy(first, copies, _KEY, 99)


@pytest.mark.parametrize(
    "other", [{"endpoint": "http://else:1"}, {"access_key": "other"}, {"region": "other"}]
)
def test_one_server_has_one_address_and_knows_us_by_the_same_keys(
    store: Store, connect: Callable[..., Store], other: dict[str, str]
) -> None:
    assert is_one_server(store.storage, connect(bucket="other", prefix="other").storage)
    assert not is_one_server(store.storage, connect(**other).storage)
