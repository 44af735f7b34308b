"""Keys that belong to no snapshot: which are shown, and what nothing may ever remove."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.holds import Hold
from three_backup.errors import BackupError, ConfigurationError
from three_backup.host.machine import Host
from three_backup.keeping import orphans
from three_backup.keeping.orphans import Orphan, Why
from three_backup.model import layout
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.s3 import multipart
from three_backup.s3.ownership import claim
from three_backup.s3.store import Store

CARRIER = Carrier("postgres/cluster/7")
TABLE = Carrier("clickhouse/table/default/shop/visits")
DAY = datetime(2026, 11, 1, tzinfo=UTC)
BASE, OTHER = SnapshotId(DAY), SnapshotId(DAY + timedelta(days=1))
FOLDER = layout.data_folder(CARRIER, BASE)


def later(**ahead: int) -> datetime:
    """Return a moment by which what was just written has become so old."""
    return datetime.now(UTC) + timedelta(**ahead, minutes=1)


def found(store: Store, now: datetime | None = None) -> list[Orphan]:
    return orphans.find(Catalog(store.storage), now or later(days=8))


def manifest(carrier: Carrier = CARRIER, snapshot: SnapshotId = BASE) -> Manifest:
    return Manifest(carrier, snapshot, (), (), 1, 1, {}, "", "", "")


def test_what_belongs_to_no_snapshot_is_summed_up_by_folder(store: Store) -> None:
    for name, size in (("core.pack.00001", 5), ("core.pack.00002", 7)):
        store.write(f"{FOLDER}/{name}", b"x" * size)
    deep = f"{layout.data_folder(TABLE, OTHER)}/0123/data/shop/visits/all_1_1_0/data.bin"
    store.write(deep, b"x" * 11)
    store.write(f"manifests/{CARRIER}/{OTHER}.json", manifest(snapshot=OTHER).to_json())
    store.write(f"{layout.data_folder(CARRIER, OTHER)}/core.pack.00001", b"x")
    first, second = found(store)
    assert (first.carrier, first.snapshot, first.keys, first.size) == (TABLE, OTHER, 1, 11)
    assert (second.carrier, second.snapshot, second.keys, second.size) == (CARRIER, BASE, 2, 12)
    assert first.stays is second.stays is None
    orphans.remove(Catalog(store.storage), second, later(days=8))
    assert [orphan.carrier for orphan in found(store)] == [TABLE]
    assert store.size(f"{layout.data_folder(CARRIER, OTHER)}/core.pack.00001") == 1


def test_what_is_younger_than_a_week_stays(store: Store) -> None:
    store.write(f"{FOLDER}/core.pack.00001", b"x")
    (young,) = found(store, later(days=6))
    assert young.stays is Why.YOUNG
    with pytest.raises(BackupError, match="begun anew meanwhile"):
        orphans.remove(Catalog(store.storage), young, later(days=6))
    (old,) = found(store)
    assert old.stays is None


def local(store: Store) -> None:
    folders = Catalog(store.storage).local
    with folders.begin(CARRIER, BASE) as directory:
        folders.commit(directory, manifest())


def unfinished(store: Store) -> None:
    (store.storage.local_dir / CARRIER / f".unfinished-{BASE}").mkdir(parents=True)


def journal(store: Store) -> None:
    Catalog(store.storage).local.journals(CARRIER, BASE).mkdir(parents=True)


def listed(store: Store) -> None:
    store.write(layout.manifest_key(CARRIER, BASE), manifest().to_json())


def held(store: Store) -> None:
    Catalog(store.storage).holds.put(Hold(CARRIER, BASE))


NAMES = {each.__name__: each for each in (local, unfinished, journal, listed, held)}
"""What may name a snapshot."""


@pytest.mark.parametrize("name", NAMES)
def test_what_anything_of_ours_names_is_no_orphan(store: Store, name: str) -> None:
    store.write(f"{FOLDER}/core.pack.00001", b"x")
    NAMES[name](store)
    assert found(store) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_another_run_begins_or_ends_after_the_look_stays(store: Store, name: str) -> None:
    store.write(f"{FOLDER}/core.pack.00001", b"x")
    (orphan,) = found(store)
    NAMES[name](store)
    with pytest.raises(BackupError, match="begun anew meanwhile"):
        orphans.remove(Catalog(store.storage), orphan, later(days=8))
    assert store.size(f"{FOLDER}/core.pack.00001") == 1


def test_what_an_upload_is_open_for_stays(store: Store) -> None:
    store.write(f"{FOLDER}/core.pack.00001", b"x")
    key = f"{FOLDER}/core.pack.00002"
    upload_id = multipart.begin(store, key)
    try:
        if not multipart.open_uploads(store, key):
            pytest.skip("the server lists no open uploads")
        (orphan,) = found(store)
        assert orphan.stays is Why.OPEN
    finally:
        multipart.abort(store, key, upload_id)


def test_what_lies_below_the_owner_of_another_prefix_is_its_own(store: Store) -> None:
    inner = replace(store.storage, prefix=f"{store.storage.prefix}/data/lxd")
    other = Store(replace(inner, local_dir=store.storage.local_dir / "other"))
    claim(other, Host("another-host", "other"))
    other.write(f"data/postgres/cluster/7/{BASE}/core.pack.00001", b"x")
    assert found(store) == []


@pytest.mark.parametrize(
    "key",
    [
        f"data/strange/cluster/7/{BASE}/core.pack.00001",
        "data/postgres/cluster/7/notes/core.pack.00001",
        f"data/postgres/{BASE}/core.pack.00001",
        f"manifests/postgres/cluster/7/{BASE}/x",
        f"wal/postgres/cluster/7/{BASE}/x",
        f"keep/postgres/cluster/7/{BASE}/x",
        "drills/x",
        "somebody/elses",
    ],
)
def test_the_keys_of_others_are_not_ours_to_remove(store: Store, key: str) -> None:
    store.write(key, b"x")
    assert found(store) == []


def test_a_database_that_is_named_as_a_snapshot_is_none(store: Store) -> None:
    name = str(ObjectId("clickhouse", "table", "default", str(BASE), str(BASE)))
    carrier = Carrier(name)
    store.write(layout.manifest_key(carrier, OTHER), manifest(carrier, OTHER).to_json())
    store.write(f"{layout.data_folder(carrier, OTHER)}/0123/.backup", b"x")
    assert found(store) == []
    store.write(f"{layout.data_folder(carrier, BASE)}/0123/.backup", b"x")
    (orphan,) = found(store)
    assert (orphan.carrier, orphan.snapshot) == (carrier, BASE)


def test_below_the_prefix_of_another_host_nothing_is_looked_for(
    store: Store, tmp_path: Path
) -> None:
    store.write(f"{FOLDER}/core.pack.00001", b"x")
    other = Store(replace(store.storage, local_dir=tmp_path / "other"))
    claim(other, Host("another-host", "other"))
    with pytest.raises(ConfigurationError, match="another host writes there"):
        found(store)
