"""Alarms name an object whose size jumps up or down; ordinary growth raises none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.config.settings import Settings
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.watching.size_alarms import alarms

MB = 1_000_000
FIRST = datetime(2026, 11, 1, 3, tzinfo=UTC)
CARRIER = Carrier("postgres/cluster/7")
USERS = ObjectId("postgres", "table", "shop", "public", "users")


def manifest(snapshot: SnapshotId, size: int) -> Manifest:
    held = (CarriedObject(USERS, size),)
    return Manifest(CARRIER, snapshot, held, (), size, size, {}, "test", "test", "test")


def said(folder: Path, factor: float | None, *sizes: int) -> list[str]:
    """Store a base and incrementals in which the object has these sizes; return the alarms."""
    catalog = Catalog(Storage(folder))
    snapshots: list[SnapshotId] = []
    for day, size in enumerate(sizes):
        parent = snapshots[-1].time if snapshots else None
        snapshots.append(SnapshotId(FIRST + timedelta(days=day), parent))
        with catalog.local.begin(CARRIER, snapshots[-1]) as unfinished:
            catalog.local.commit(unfinished, manifest(snapshots[-1], size))
    settings = Settings(Storage(folder), size_alarm=factor)
    return list(alarms(CARRIER, catalog.snapshots(CARRIER), lambda _: settings, catalog))


@pytest.mark.parametrize("sizes", [(10 * MB, MB), (MB, 10 * MB), (10 * MB, MB, MB), (MB, 0)])
def test_a_size_that_jumped_is_told_until_the_chain_ends(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    (sentence,) = said(tmp_path, 5.0, *sizes)
    assert sentence.startswith(f"{USERS} had ")
    assert "20261102T030000Z-incr-20261101T030000Z" in sentence


@pytest.mark.parametrize("sizes", [(MB, 4 * MB), (4 * MB, MB), (0, 999_999), (MB,)])
def test_what_grows_within_bounds_or_is_small_is_left_alone(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    assert said(tmp_path, 5.0, *sizes) == []


def test_nothing_is_told_of_what_has_no_bound(tmp_path: Path) -> None:
    assert said(tmp_path, None, 10 * MB, MB) == []


def test_a_base_is_compared_with_what_was_before_it(tmp_path: Path) -> None:
    said(tmp_path, 5.0, 10 * MB, 10 * MB)
    catalog = Catalog(Storage(tmp_path))
    fresh = SnapshotId(FIRST + timedelta(days=9))
    with catalog.local.begin(CARRIER, fresh) as unfinished:
        catalog.local.commit(unfinished, manifest(fresh, MB))
    settings = Settings(Storage(tmp_path), size_alarm=5.0)
    found = alarms(CARRIER, catalog.snapshots(CARRIER), lambda _: settings, catalog)
    assert [sentence.endswith("has 1 MB in 20261110T030000Z-base") for sentence in found] == [True]
