"""A carrier as it stands, and as it will stand once all is uploaded."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.config.settings import Settings
from three_backup.deciding.holding import Holding
from three_backup.model.objects import Carrier
from three_backup.model.retention import Place
from three_backup.model.snapshots import Manifest, SnapshotId, Stored
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage

_DAYS = [datetime(2026, 11, 1, 3, tzinfo=UTC) + timedelta(days=number) for number in range(3)]
NOW = datetime(2026, 11, 4, tzinfo=UTC)
BASE = SnapshotId(_DAYS[0])
FIRST, SECOND = SnapshotId(_DAYS[1], _DAYS[0]), SnapshotId(_DAYS[2], _DAYS[1])
POINTS, FILES = Carrier("lxd/container/default/shop/web"), Carrier("postgres/cluster/7")


def holding(folder: Path, carrier: Carrier, *stored: Stored, **options: object) -> Holding:
    """Its snapshots of this host have manifests."""
    storage = Storage(folder)
    catalog = Catalog(storage)
    for snapshot in (each.id for each in stored if each.local):
        with catalog.local.begin(carrier, snapshot) as directory:
            manifest = Manifest(carrier, snapshot, (), (), 1, 1, {"guid": "1"}, "", "", "")
            catalog.local.commit(directory, manifest)
    settings = Settings(storage, **options)  # type: ignore[arg-type]
    return Holding(carrier, catalog, stored, [settings], NOW)


def in_s3(standing: Holding) -> list[SnapshotId]:
    return [stored.id for stored in standing.snapshots if stored.s3]


@pytest.mark.parametrize(("carrier", "sent"), [(FILES, [BASE, FIRST]), (POINTS, [BASE])])
def test_a_point_whose_parent_lies_in_s3_alone_is_never_uploaded(
    tmp_path: Path, carrier: Carrier, sent: list[SnapshotId]
) -> None:
    """Whether a full disk will empty was once answered as if it were."""
    standing = holding(
        tmp_path,
        carrier,
        Stored(BASE, local=False, s3=True),
        Stored(FIRST, local=True, s3=False),
    )
    assert in_s3(standing.once_uploaded()) == sent


def test_what_retention_would_remove_again_is_not_uploaded(tmp_path: Path) -> None:
    bases = [Stored(SnapshotId(day), local=True, s3=False) for day in _DAYS]
    standing = holding(tmp_path, FILES, *bases, max_base_snapshots_s3=2)
    assert standing.surplus() == {bases[0].id}
    assert in_s3(standing.once_uploaded()) == [stored.id for stored in bases[1:]]


def test_nothing_is_uploaded_of_a_carrier_that_stays_on_this_host(tmp_path: Path) -> None:
    base = Stored(BASE, local=True, s3=False)
    standing = holding(tmp_path, FILES, base, max_stage=Stage.SNAPSHOT_INCREMENTAL)
    assert not standing.goes_to_s3
    assert standing.once_uploaded() == standing


def test_once_uploaded_local_copies_may_go(tmp_path: Path) -> None:
    chain = [Stored(each, local=True, s3=False) for each in (BASE, FIRST, SECOND)]
    limits = {"max_base_snapshots_local": 0, "max_incremental_snapshots_local": 0}
    standing = holding(tmp_path, FILES, *chain, **limits)
    assert all(verdict.keep for verdict in standing.verdicts())
    gone = {
        verdict.snapshot
        for verdict in standing.once_uploaded().verdicts()
        if verdict.place is Place.LOCAL and not verdict.keep
    }
    assert gone == {BASE, FIRST, SECOND}


@pytest.mark.parametrize(("zone", "kept"), [("UTC", 2), ("America/New_York", 3)])
def test_days_are_those_of_the_time_zone_of_this_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, kept: int
) -> None:
    monkeypatch.setenv("TZ", zone)
    hours = (0, 5, 29)  # after three in the morning: in New York it is still the day before
    bases = [
        Stored(SnapshotId(_DAYS[0] + timedelta(hours=hour)), local=False, s3=True)
        for hour in hours
    ]
    standing = holding(tmp_path, FILES, *bases, max_base_snapshots_s3=0, keep_daily=3)
    assert sum(verdict.keep for verdict in standing.verdicts()) == kept
    assert standing.progress().stale_s3 == (kept < 3)


def test_without_an_enabled_object_nothing_is_removed(tmp_path: Path) -> None:
    standing = Holding(
        FILES, Catalog(Storage(tmp_path)), [Stored(BASE, local=True, s3=False)], (), NOW
    )
    assert standing.verdicts() == []
