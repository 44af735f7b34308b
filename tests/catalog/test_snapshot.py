"""A snapshot that is found can be gone, or lack a parent, once it is read."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError, BrokenChainError
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.model.storage import Storage

CARRIER = Carrier("postgres/cluster/7")
BASE = SnapshotId(datetime(2026, 11, 1, tzinfo=UTC))
CHILD = SnapshotId(datetime(2026, 11, 2, tzinfo=UTC), BASE.time)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(Storage(tmp_path))
    for snapshot in (BASE, CHILD):
        with catalog.local.begin(CARRIER, snapshot) as folder:
            manifest = Manifest(CARRIER, snapshot, (), (), 7, 7, {}, "", "", "")
            catalog.local.commit(folder, manifest)
    return catalog


def newest(catalog: Catalog) -> Snapshot:
    return Snapshot(catalog, CARRIER, catalog.snapshots(CARRIER)[-1])


def test_a_chain_begins_with_its_base(catalog: Catalog) -> None:
    assert [files.manifest.snapshot for files in newest(catalog).chain()] == [BASE, CHILD]


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        (BASE, "cannot be restored: that of 20261101T000000Z, on which it builds, is gone"),
        (CHILD, "was removed meanwhile"),
    ],
)
def test_what_is_gone_by_now_is_said(catalog: Catalog, gone: SnapshotId, what: str) -> None:
    found = newest(catalog)
    catalog.local.remove(CARRIER, gone)
    with pytest.raises(BackupError, match=f"snapshot {CHILD} {what}"):
        found.chain()


def test_while_s3_is_away_a_parent_may_lie_there(catalog: Catalog) -> None:
    catalog.local.remove(CARRIER, BASE)
    catalog.partial = True
    with pytest.raises(BrokenChainError, match="does not lie on this host; restore it once S3"):
        newest(catalog).chain()
