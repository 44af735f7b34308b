"""A manifest in S3 whose data is not there as it says: what one listing of the data shows."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.hollow import look
from three_backup.catalog.hollow_memory import HollowMemory, filled, sentence_on
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored, StoredFile
from three_backup.model.storage import Storage
from three_backup.s3.store import Store
from three_backup.s3.upload import upload

from .files import PART, PARTS

CARRIER = Carrier("postgres/cluster/7")
DAY = datetime(2026, 11, 1, tzinfo=UTC)
BASE = SnapshotId(DAY)
OTHER = SnapshotId(DAY + timedelta(days=1))
PACK = StoredFile("core.pack", 25, volume_size=10)
DATA = f"data/{CARRIER}"


def write(
    store: Store,
    files: tuple[StoredFile, ...] = (),
    keys: Mapping[str, int] | None = None,
    snapshot: SnapshotId = BASE,
    **facts: Any,
) -> None:
    """Write a manifest, and data keys of so many bytes below the folder of its snapshot."""
    manifest = Manifest(CARRIER, snapshot, (), files, 1, 1, facts, "", "", "")
    store.write(f"manifests/{CARRIER}/{snapshot}.json", manifest.to_json())
    for name, size in (keys or {}).items():
        store.write(f"{DATA}/{snapshot}/{name}", b"x" * size)


def lacks(store: Store, *snapshots: SnapshotId) -> dict[SnapshotId, str]:
    return look(Catalog(store.storage), CARRIER, snapshots or [BASE])


def volumes(*sizes: int) -> dict[str, int]:
    return {f"core.pack.{number:05d}": size for number, size in enumerate(sizes, 1)}


def test_a_snapshot_whose_data_lies_there_is_not_hollow(store: Store) -> None:
    local = StoredFile("local.pack", 9, local_only=True)
    empty, small = StoredFile("none.zst", 0), StoredFile("index.zst", 3)
    keys = {**volumes(10, 10, 5), "index.zst.00001": 3, "left.00001": 1}
    write(store, (PACK, local, empty, small), keys)
    assert lacks(store) == {}


@pytest.mark.parametrize(
    "sizes", [(), (10, 10), (10, 10, 4), (10, 9, 5), (10, 10, 10), (10, 5, 10), (25,)]
)
def test_a_volume_that_is_missing_or_has_another_size_makes_it_hollow(
    store: Store, sizes: tuple[int, ...]
) -> None:
    write(store, (PACK, StoredFile("index.zst", 3)), {**volumes(*sizes), "index.zst.00001": 3})
    assert "volumes are in S3" in lacks(store)[BASE]


def test_what_was_sent_in_parts_is_listed_with_its_size(store: Store, tmp_path: Path) -> None:
    """Some stores keep the parts as segments of their own."""
    size = 3 * PART + 1
    journal, source = tmp_path / "core.pack.journal", BytesIO(bytes(size))
    key = f"{DATA}/{BASE}/core.pack"
    sent = upload(store, key, source, size, journal, lambda _: None, PART, parts=PARTS)
    write(store, (StoredFile("core.pack", size, volume_size=sent.volume_size),))
    assert sent.volumes == 2
    assert lacks(store) == {}


def test_a_manifest_that_promises_nothing_or_what_cannot_be_is_hollow(store: Store) -> None:
    lying = (StoredFile("local.pack", 9, local_only=True),)
    huge = (StoredFile("core.pack", 10**30, volume_size=1),)
    for files in ((), lying, (StoredFile("none.zst", 0),), huge):
        write(store, files, {"core.pack.00001": 1})
        forget(store)
        assert set(lacks(store)) == {BASE}
    store.write(f"manifests/{CARRIER}/{BASE}.json", b"{}")
    forget(store)
    assert "is not a manifest" in lacks(store)[BASE]


def forget(store: Store) -> None:
    """Forget the cached manifest, as a host that never read it."""
    Catalog(store.storage).forget_cached(CARRIER, BASE)


def test_a_manifest_copied_to_another_name_is_hollow(store: Store) -> None:
    write(store, (PACK,), volumes(10, 10, 5))
    body = store.read(f"manifests/{CARRIER}/{BASE}.json")
    store.write(f"manifests/{CARRIER}/{OTHER}.json", body)
    found = lacks(store, BASE, OTHER)
    assert set(found) == {OTHER}
    assert "this is the manifest of" in found[OTHER]


def chain(folder: str, keys: int, size: int) -> list[dict[str, Any]]:
    return [{"folder": folder, "keys": keys, "size": size}]


def test_what_a_server_wrote_is_counted_but_for_its_lock_and_its_own_manifest(
    store: Store,
) -> None:
    keys = {"a-1/.backup": 7, "a-1/.lock": 36, "a-1/data/x/1.bin": 5, "a-1/data/x/2.bin": 6}
    own = f"{BASE}/a-1"
    write(store, keys={**keys, "a-1.00001": 9, "b-2/data": 3}, chain=chain(own, 3, 11))
    assert lacks(store) == {}
    store.write(f"{DATA}/{own}/.backup", b"rewritten, since its base has moved")
    assert lacks(store) == {}
    store.write(f"{DATA}/{own}/data/x/1.bin", b"four")
    assert lacks(store) == {BASE: "a-1 has 3 keys with 10 bytes in S3 and had 3 with 11"}
    store.delete([f"{DATA}/{own}/data/x/1.bin"])
    assert lacks(store) == {BASE: "a-1 has 2 keys with 6 bytes in S3 and had 3 with 11"}


@pytest.mark.parametrize("folder", [f"{OTHER}/a-1", f"{BASE}/../{OTHER}", str(BASE), ""])
def test_a_manifest_that_names_the_data_of_another_snapshot_is_hollow(
    store: Store, folder: str
) -> None:
    write(store, keys={"a-1/.backup": 7, "a-1/x": 5}, snapshot=OTHER)
    write(store, chain=chain(folder, 2, 5))
    assert "its data cannot be in" in lacks(store)[BASE]


def test_many_snapshots_cost_one_listing_and_their_manifests_once(store: Store) -> None:
    days = [SnapshotId(DAY + timedelta(days=day)) for day in range(9)]
    for day in days:
        write(store, (PACK,), volumes(10, 10, 5), snapshot=day)
    catalog = Catalog(store.storage)
    assert look(catalog, CARRIER, days) == {}
    assert catalog.bucket.requests == 1 + len(days)
    assert look(catalog, CARRIER, days) == {}
    assert catalog.bucket.requests == 2 + len(days)


def test_what_was_found_is_remembered_until_nothing_is_hollow(tmp_path: Path) -> None:
    storage = Storage(tmp_path, "http://s3", "bucket", "host")
    memory, found = HollowMemory(storage), {BASE: "it lacks one", OTHER: "it lacks another"}
    assert memory.of(CARRIER) == {}
    memory.remember(CARRIER, {})
    memory.remember(CARRIER, found)
    for known in (memory, HollowMemory(storage)):
        assert known.of(CARRIER) == found
        assert known.of(Carrier("postgres/cluster/8")) == {}
    assert HollowMemory(Storage(tmp_path, "http://s3", "other", "host")).of(CARRIER) == {}
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_text("{")
    assert memory.of(CARRIER) == {}
    memory.remember(CARRIER, {})
    assert not file.exists()


def test_a_hollow_copy_in_s3_counts_as_none() -> None:
    both, there = Stored(BASE, local=True, s3=True), Stored(OTHER, local=False, s3=True)
    assert filled([both, there], {}) == [both, there]
    assert filled([both, there], {BASE, OTHER}) == [Stored(BASE, local=True, s3=False)]


def test_the_newest_hollow_snapshot_is_named_with_what_it_lacks() -> None:
    assert sentence_on({BASE: "no pack"}) == f"{BASE} is hollow: no pack"
    two = {BASE: "no pack", OTHER: "no index"}
    assert sentence_on(two) == f"{OTHER} and 1 before it are hollow: no index"
