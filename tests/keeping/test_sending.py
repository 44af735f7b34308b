"""Streams of points are encrypted on their way to S3, and go on there after a stop."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.hollow import look
from three_backup.demo.seaweed import SeaweedServer
from three_backup.errors import BackupError
from three_backup.keeping.sending import Sending
from three_backup.model.encryption import EncryptionKeys
from three_backup.model.hashed_stream import STREAM, StreamIndex, index_of
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId, Stored
from three_backup.model.storage import Storage
from three_backup.s3.volumes import PART_SIZE
from three_backup.screen.progress import Transfer

_CARRIER = Carrier("lxd/container/default/default/web")
_ID = SnapshotId.parse("20261130T000000Z-base")
_BODY = os.urandom(2 * PART_SIZE + 12345)


class _BrokenError(BackupError):
    """The pipe broke."""


class _Pipe(BytesIO):
    """A stream that cannot seek, and breaks off at a byte."""

    def __init__(self, body: bytes, breaks: int | None = None) -> None:
        super().__init__(body)
        self._breaks = breaks

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: object) -> int:
        if self._breaks is not None and self.tell() >= self._breaks:
            raise _BrokenError("lxd.send", "the pipe broke")
        return super().readinto(buffer)  # type: ignore[arg-type]


@contextmanager
def _opened(body: bytes, breaks: int | None = None) -> Iterator[BufferedIOBase]:
    yield _Pipe(body, breaks)


@pytest.fixture
def storage(seaweed: SeaweedServer, bucket: str, tmp_path: Path) -> Storage:
    found = Storage(tmp_path, seaweed.endpoint, bucket, "host")
    keys = EncryptionKeys.parse("5a" * 32)
    found = replace(found, access_key=seaweed.access_key, secret_key=seaweed.secret_key)
    return replace(found, encryption_key=keys)


def _manifest() -> Manifest:
    assert _ID is not None
    carried = CarriedObject(ObjectId.parse(_CARRIER), 1, {})
    facts = {"guid": "1", "configuration": {"config": {"environment.TOKEN": "hush"}}}
    return Manifest(_CARRIER, _ID, (carried,), (), 1, 1, facts, "", "", "")


def _sending(storage: Storage) -> Sending:
    return Sending(Catalog(storage), _manifest(), Transfer(None))


def _read_back(storage: Storage) -> bytes:
    catalog = Catalog(replace(storage, local_dir=storage.local_dir / "another host"))
    (stored,) = catalog.snapshots(_CARRIER)
    assert look(catalog, _CARRIER, [stored.id]) == {}
    files = catalog.files(_CARRIER, Stored(stored.id, local=False, s3=True))
    index = StreamIndex.from_json(files.read(index_of(STREAM)), "index")
    pieces = (index.piece_at(offset) for offset in range(0, index.size, index.piece))
    read = (files.read_range(STREAM, piece.offset, piece.size, (piece,)) for piece in pieces)
    return b"".join(read)


def test_a_stream_that_breaks_off_is_sent_on_from_there_and_nobody_can_read_it(
    storage: Storage,
) -> None:
    with pytest.raises(_BrokenError):
        _sending(storage).streams({STREAM: partial(_opened, _BODY, 2 * PART_SIZE - 1)})
    assert Catalog(storage).snapshots(_CARRIER) == []
    sent = _sending(storage).streams({STREAM: partial(_opened, _BODY)})
    assert sent.resumed == PART_SIZE
    assert sent.size > len(_BODY)
    assert _read_back(storage) == _BODY
    store = Catalog(storage).bucket
    everything = b"".join(store.read(key) for key in store.all_names(""))
    assert not any(piece in everything for piece in (_BODY[:64], b"hush", b"sha256"))


def test_a_stream_or_a_key_that_changed_meanwhile_is_sent_anew(storage: Storage) -> None:
    other = bytes(PART_SIZE) + _BODY[PART_SIZE:]
    with pytest.raises(_BrokenError):
        _sending(storage).streams({STREAM: partial(_opened, _BODY, 2 * PART_SIZE - 1)})
    assert _sending(storage).streams({STREAM: partial(_opened, other)}).resumed == 0
    assert _read_back(storage) == other
    Catalog(storage).bucket.delete_folder("manifests/")
    renewed = EncryptionKeys.parse("a5" * 32 + " " + "5a" * 32)
    storage = replace(storage, encryption_key=renewed)
    _sending(storage).streams({STREAM: partial(_opened, other)})
    assert hashlib.sha256(_read_back(storage)).digest() == hashlib.sha256(other).digest()
