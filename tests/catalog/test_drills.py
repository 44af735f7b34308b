"""A drill is found under each name that its object has had, and stays under one."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from three_backup.catalog.drills import Drill, Drills
from three_backup.demo.seaweed import SeaweedServer
from three_backup.model.encryption import EncryptionKeys
from three_backup.model.objects import ObjectId
from three_backup.model.signing import Keyring
from three_backup.model.storage import Storage
from three_backup.s3.store import Store

_ORDERS = ObjectId.parse("postgres/table/shop/public/orders")
_OLD, _NEW = EncryptionKeys.parse("5a" * 32), EncryptionKeys.parse("a5" * 32 + " " + "5a" * 32)


@pytest.fixture
def storage(seaweed: SeaweedServer, bucket: str, tmp_path: Path) -> Storage:
    found = Storage(tmp_path, seaweed.endpoint, bucket, "host")
    return replace(found, access_key=seaweed.access_key, secret_key=seaweed.secret_key)


def drilled(storage: Storage, rows: int, *, good: bool = True) -> None:
    drill = Drill(_ORDERS, "20261130T000000Z-base", datetime.now(UTC), 1, {"rows": rows})
    Drills(Store(storage)).remember(drill, good=good)


def test_what_was_proved_stays_so_whichever_key_comes_or_goes(storage: Storage) -> None:
    forms = (
        storage,
        replace(storage, encryption_key=_OLD),
        replace(storage, encryption_key=_NEW),
        replace(storage, encryption_key=_NEW, manifest_key=Keyring.parse("11" * 32)),
        replace(storage, encryption_key=_NEW, encrypt_names=False),
    )
    for rows, (before, after) in enumerate(pairwise(forms)):
        drilled(before, rows, good=False)
        drilled(before, rows)
        signed_since = bool(after.manifest_key) and not before.manifest_key
        told = Drills(Store(after))
        assert (told.last_good(str(_ORDERS)) is None) == signed_since
        assert told.last_failed(str(_ORDERS)) is None
        assert told.facts(_ORDERS).get("rows") == (None if signed_since else rows)
        (key,) = Store(before).all_names("drills/")
        legible = b"orders" in Store(before).read(key)
        assert ("orders" in key, legible) == (before is storage, before is storage)
