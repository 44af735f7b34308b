"""What lies among the manifests in S3 and is none of ours makes no snapshot."""

from pathlib import Path

import pytest

from three_backup.catalog import Catalog, Stored
from three_backup.s3.store import Store
from three_backup.snapshots import SnapshotId

CARRIER = "postgres/table/shop/public/orders"
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
