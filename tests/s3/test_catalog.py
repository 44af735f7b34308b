"""Listing, reading and caching the manifests in S3."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.fault_proxy import proxy, refusal
from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored
from three_backup.model.storage import Storage
from three_backup.s3.store import Store

CARRIER = Carrier("postgres/table/shop/public/orders")
OURS = "20260101T000000Z-base"
OTHERS = (
    "20260102T000000Z-base.json.bak",
    "20260230T000000Z-base.json",
    "copy 20260102T000000Z-base.json",
    "old/20260102T000000Z-base.json",
)


@pytest.mark.parametrize("at_once", [True, False])
def test_keys_of_others_are_no_snapshots(store: Store, tmp_path: Path, at_once: bool) -> None:
    for name in (f"{OURS}.json", *OTHERS):
        store.write(f"manifests/{CARRIER}/{name}", b"{}")
    catalog = Catalog(store.storage)
    catalog.local.root = tmp_path / "nothing"
    if at_once:
        catalog.list_everything()
    ours = SnapshotId.parse(OURS)
    assert ours is not None
    assert catalog.snapshots(CARRIER) == [Stored(ours, local=False, s3=True)]


def test_a_cached_manifest_that_is_damaged_is_read_from_s3_and_replaced(store: Store) -> None:
    ours = SnapshotId.parse(OURS)
    assert ours is not None
    body = Manifest(CARRIER, ours, (), (), 7, 7, {}, "", "", "").to_json()
    store.write(f"manifests/{CARRIER}/{OURS}.json", body)
    stored = Stored(ours, local=False, s3=True)
    manifest = Catalog(store.storage).manifest(CARRIER, stored)
    (cached,) = (store.storage.local_dir / "cache").rglob("*.json")
    cached.write_bytes(body.replace(b"7", b"8"))
    assert Catalog(store.storage).manifest(CARRIER, stored) == manifest
    assert cached.read_bytes() == body


def test_a_refusal_is_remembered_and_not_asked_for_again(storage: Storage) -> None:
    assert storage.endpoint is not None
    with proxy(storage.endpoint, lambda *_: refusal(403, "AccessDenied")) as endpoint:
        catalog = Catalog(replace(storage, endpoint=endpoint))
        for _ in range(3):
            with pytest.raises(BackupError, match="access is denied"):
                catalog.list_everything()
    assert catalog.bucket.requests == 1
