"""What is too old, or has a broken chain, is refused by naming what can be restored."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, BrokenChainError
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.restoring.snapshot_choice import Choice
from three_backup.restoring.snapshot_finder import Finder

CLUSTER = Carrier("postgres/cluster/1")
HITS = Carrier("clickhouse/table/default/s/hits")
ORDERS, CARTS = (
    ObjectId.parse(f"postgres/table/shop/public/{name}") for name in ("orders", "carts")
)


def day(number: int) -> datetime:
    return datetime(2026, 11, number, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A base, three increments and a base, all with orders; carts only from the second day on."""
    catalog = Catalog(Storage(tmp_path))
    for carrier in (CLUSTER, HITS):
        for number, parent in ((1, None), (2, 1), (3, 2), (4, 3), (5, None)):
            both = (ORDERS, CARTS) if number > 1 else (ORDERS,)
            objects = both if carrier == CLUSTER else (ObjectId.parse(carrier),)
            keep(
                catalog,
                carrier,
                SnapshotId(day(number), None if parent is None else day(parent)),
                *objects,
            )
    return catalog


def keep(catalog: Catalog, carrier: Carrier, snapshot: SnapshotId, *objects: ObjectId) -> None:
    carried = tuple(CarriedObject(object_id, 7) for object_id in objects)
    with catalog.local.begin(carrier, snapshot) as folder:
        catalog.local.commit(
            folder, Manifest(carrier, snapshot, carried, (), 7, 7, {}, "", "", "")
        )


def lose(catalog: Catalog, *days: int) -> None:
    for carrier in (CLUSTER, HITS):
        for stored in catalog.snapshots(carrier):
            if stored.id.time in map(day, days):
                catalog.local.remove(carrier, stored.id)


def refusal(catalog: Catalog, choice: Choice, object_id: ObjectId = ORDERS) -> BackupError:
    held = Finder([catalog], choice).one(object_id)
    with pytest.raises(BrokenChainError) as raised:
        choice.chain(held.snapshot, [object_id])
    return raised.value


def test_a_time_is_answered_in_the_zone_in_which_it_was_asked_for(catalog: Catalog) -> None:
    choice = Choice.of(None, "2026-10-09 02:00", ZoneInfo("Europe/Berlin"))
    with pytest.raises(BackupError) as raised:
        Finder([catalog], choice).one(ORDERS)
    assert "as old as 2026-10-09 02:00:00 CEST; the oldest" in raised.value.message
    assert raised.value.message.endswith("of 2026-11-01 01:00:00 CET")


@pytest.mark.parametrize("object_id", [ORDERS, ObjectId.parse(HITS)])
def test_a_time_before_the_oldest_snapshot_names_the_oldest(
    catalog: Catalog, object_id: ObjectId
) -> None:
    finder = Finder([catalog], Choice(at=datetime(2026, 10, 9, tzinfo=UTC)))
    pattern = f"{str(object_id)[:-3]}*"
    for find in (
        lambda: finder.one(object_id),
        lambda: finder.all(str(object_id)),
        lambda: finder.all(pattern),
    ):
        with pytest.raises(BackupError) as raised:
            find()
        assert raised.value.message.endswith(
            "no snapshot is as old as 2026-10-09 00:00:00 UTC; the oldest that can be restored is "
            "20261101T000000Z-base, of 2026-11-01 00:00:00 UTC"
        )
        assert raised.value.hint == "give that time or a later one: --at 2026-11-01T00:00:00Z"


def test_the_oldest_is_one_that_holds_the_object_and_can_be_restored(catalog: Catalog) -> None:
    with pytest.raises(BackupError, match="restored is 20261102T000000Z-incr"):
        Finder([catalog], Choice(at=day(1))).one(CARTS)
    lose(catalog, 1)
    with pytest.raises(BackupError, match="restored is 20261105T000000Z-base"):
        Finder([catalog], Choice(at=day(1))).one(ORDERS)


def test_what_no_snapshot_holds_at_any_time_is_not_too_early(catalog: Catalog) -> None:
    for name in ("clickhouse/table/default/s/gone", "postgres/table/shop/public/gone", "gone"):
        with pytest.raises(BackupError, match="no snapshot that may be restored holds it"):
            Finder([catalog], Choice(at=day(1))).all(name)


def test_a_broken_chain_names_the_newest_that_works_and_holds_the_object(catalog: Catalog) -> None:
    lose(catalog, 3, 5)
    error = refusal(catalog, Choice())
    assert error.message.endswith(
        "20261104T000000Z-incr-20261103T000000Z cannot be restored: that of "
        "20261103T000000Z, on which it builds, is gone"
    )
    second = "20261102T000000Z-incr-20261101T000000Z"
    assert error.hint == f"the newest that can be is {second}: tb-restore --snapshot {second}"
    assert second in refusal(catalog, Choice(), ObjectId.parse(HITS)).hint
    lose(catalog, 2)
    assert "20261101T000000Z-base" in refusal(catalog, Choice()).hint
    assert refusal(catalog, Choice(), CARTS).hint.startswith("no other can be either")


def test_for_a_time_the_newest_that_works_is_not_after_it(catalog: Catalog) -> None:
    lose(catalog, 3)
    hint = refusal(catalog, Choice(at=day(4))).hint
    assert hint.startswith("the newest of that time that can be is 20261102T000000Z-incr")
    lose(catalog, 2)
    assert "20261101T000000Z-base" in refusal(catalog, Choice(at=day(4))).hint
    lose(catalog, 1)
    hint = refusal(catalog, Choice(at=day(4))).hint
    assert hint.startswith("none of that time can be, the next is 20261105T000000Z-base")


def test_a_broken_snapshot_asked_for_by_its_id_names_the_newest_that_works(
    catalog: Catalog,
) -> None:
    lose(catalog, 3)
    broken = SnapshotId(day(4), day(3))
    assert "20261105T000000Z-base" in refusal(catalog, Choice(snapshot=broken)).hint


def test_while_s3_is_away_nothing_is_called_gone(catalog: Catalog) -> None:
    lose(catalog, 3, 5)
    catalog.partial = True
    assert refusal(catalog, Choice()).hint == "restore it once S3 can be read again"
