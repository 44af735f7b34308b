"""Uploads with a key that may neither delete nor give up an upload."""

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.s3.multipart import keys_of_open_uploads
from three_backup.s3.store import Store
from three_backup.s3.upload import SourceChangedError, abandon

from .files import KEY, PART, BrokenOff, fetch, send


@pytest.fixture
def careful(storage: Storage) -> Iterator[Store]:
    """A store whose key may neither delete nor abort."""

    def meddle(request: Request, forward: Forward) -> Answer:
        deletes = request.is_("POST", "delete") or request.method == "DELETE"
        return refusal(403, "AccessDenied") if deletes else forward()

    with proxy(str(storage.endpoint), meddle) as endpoint:
        yield Store(replace(storage, endpoint=endpoint))


def test_the_proof_of_a_run_leaves_no_open_upload(
    careful: Store, content: bytes, journal: Path
) -> None:
    for number in range(3):
        uploaded = send(
            Store(careful.storage), io.BytesIO(content), journal.with_name(f"{number}")
        )
        assert fetch(careful, uploaded) == content
    assert keys_of_open_uploads(careful, "") == []


def test_a_stream_that_changed_is_sent_anew(careful: Store, content: bytes, journal: Path) -> None:
    with pytest.raises(OSError, match="broken off"):
        send(careful, BrokenOff(content, 3 * PART), journal)
    another = os.urandom(len(content) - 1)
    with pytest.raises(SourceChangedError):
        send(Store(careful.storage), _Once(another), journal)
    uploaded = send(Store(careful.storage), io.BytesIO(another), journal)
    assert fetch(careful, uploaded) == another


def test_what_is_abandoned_is_emptied(careful: Store, content: bytes, journal: Path) -> None:
    send(careful, io.BytesIO(content), journal)
    abandon(careful, journal)
    assert not journal.exists()
    sizes = {found.size for found in careful.all_keys(KEY)}
    assert sizes == {0}


def test_a_deletion_that_fails_for_another_reason_is_a_failure(
    storage: Storage, content: bytes, journal: Path
) -> None:
    send(Store(storage), io.BytesIO(content), journal)

    def meddle(request: Request, forward: Forward) -> Answer:
        deletes = request.is_("POST", "delete") or request.method == "DELETE"
        return refusal(409, "ObjectLocked") if deletes else forward()

    with proxy(str(storage.endpoint), meddle) as endpoint, pytest.raises(BackupError):
        abandon(Store(replace(storage, endpoint=endpoint)), journal)
    assert journal.exists()


class _Once(io.BytesIO):
    """A stream that cannot be read from its beginning again, as a pipe."""

    def seekable(self) -> bool:
        return False
