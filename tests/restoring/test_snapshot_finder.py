"""A manifest that cannot be read affects only the objects of its own snapshot."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.deciding import discovery
from three_backup.errors import BackupError
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.restoring.snapshot_choice import Choice
from three_backup.restoring.snapshot_finder import Finder, Held

SHOP = "clickhouse/table/default/shop"
CLUSTER, LATER = "postgres/cluster/1", "postgres/cluster/2"
ORDERS, CARTS = "postgres/table/shop/public/orders", "postgres/table/shop/public/carts"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(Storage(tmp_path))


def keep(catalog: Catalog, name: str, day: int, *ids: str, readable: bool = True) -> SnapshotId:
    """Store a snapshot of the day that holds the objects; by default the carrier is the object."""
    carrier, snapshot = Carrier(name), SnapshotId(datetime(2026, 11, day, tzinfo=UTC))
    objects = tuple(CarriedObject(ObjectId.parse(object_id), 7) for object_id in ids or (carrier,))
    with catalog.local.begin(carrier, snapshot) as folder:
        manifest = Manifest(carrier, snapshot, objects, (), 7, 7, {}, "", "", "")
        catalog.local.commit(folder, manifest)
    if not readable:
        (catalog.local.directory(carrier, snapshot) / "manifest.json").write_bytes(b"{")
    return snapshot


def finder(catalog: Catalog) -> Finder:
    return Finder([catalog], Choice(None, None))


def one(catalog: Catalog, object_id: str) -> Held:
    return finder(catalog).one(ObjectId.parse(object_id))


def test_an_object_is_found_though_the_manifests_of_all_others_are_damaged(
    catalog: Catalog,
) -> None:
    for name in "abyz":
        keep(catalog, f"{SHOP}/{name}", 1, readable=False)
    healthy = keep(catalog, f"{SHOP}/m", 1)
    assert one(catalog, f"{SHOP}/m").snapshot.id == healthy
    with pytest.raises(BackupError, match="this is not a manifest"):
        one(catalog, f"{SHOP}/a")
    with pytest.raises(BackupError, match="no snapshot that may be restored holds it"):
        one(catalog, f"{SHOP}/n")


def test_a_pattern_finds_the_healthy_and_names_the_damaged(catalog: Catalog) -> None:
    keep(catalog, f"{SHOP}/a", 1)
    keep(catalog, f"{SHOP}/b", 1, readable=False)
    keep(catalog, f"{SHOP}/c", 1)
    keep(catalog, "clickhouse/table/default/other/d", 1, readable=False)
    found = finder(catalog).all(f"{SHOP}/*")
    held = [str(result.object.id) for result in found if isinstance(result, Held)]
    assert held == [f"{SHOP}/a", f"{SHOP}/c"]
    ((carrier, error),) = [result for result in found if not isinstance(result, Held)]
    assert (carrier, error.code) == (f"{SHOP}/b", "manifest.malformed")
    assert [type(result) for result in finder(catalog).all(f"{SHOP}/b")] == [tuple]


def test_an_older_manifest_that_cannot_be_read_hides_no_newer_snapshot(catalog: Catalog) -> None:
    keep(catalog, CLUSTER, 1, CARTS, readable=False)
    keep(catalog, CLUSTER, 2, CARTS)
    newest = keep(catalog, LATER, 3, ORDERS)
    held = one(catalog, ORDERS)
    assert (held.snapshot.name, held.gone) == ((LATER, newest), False)


def test_a_newer_manifest_that_cannot_be_read_is_not_passed_over_in_silence(
    catalog: Catalog,
) -> None:
    older = keep(catalog, CLUSTER, 1, ORDERS)
    keep(catalog, CLUSTER, 2, ORDERS, readable=False)
    with pytest.raises(BackupError, match="restore an older snapshot"):
        one(catalog, ORDERS)
    chosen = Finder([catalog], Choice(older, None)).one(ObjectId.parse(ORDERS))
    assert chosen.snapshot.id == older


def test_an_object_that_newer_snapshots_lack_comes_out_of_the_last_that_held_it(
    catalog: Catalog,
) -> None:
    keep(catalog, CLUSTER, 1, ORDERS)
    last = keep(catalog, CLUSTER, 2, ORDERS)
    keep(catalog, CLUSTER, 3, CARTS)
    keep(catalog, LATER, 4, CARTS)
    held = one(catalog, ORDERS)
    assert (held.snapshot.id, held.gone) == (last, True)


def test_what_is_stored_is_listed_without_the_manifest_that_cannot_be_read(
    catalog: Catalog,
) -> None:
    keep(catalog, CLUSTER, 1, ORDERS, readable=False)
    newest = keep(catalog, CLUSTER, 2, ORDERS)
    (failed, error), (record, fine) = discovery.stored((), [catalog], ["postgres"])
    assert (failed.id, fine) == (CLUSTER, None)
    assert error is not None
    assert record.id == ORDERS
    assert [snapshot["id"] for snapshot in record.fields["snapshots"]] == [str(newest)]


def test_no_manifest_is_read_of_an_object_that_is_not_selected(catalog: Catalog) -> None:
    keep(catalog, f"{SHOP}/a", 1, readable=False)
    keep(catalog, f"{SHOP}/m", 1)
    ((record, error),) = discovery.stored([f"{SHOP}/m"], [catalog], ["clickhouse"])
    assert (record.id, error) == (f"{SHOP}/m", None)
