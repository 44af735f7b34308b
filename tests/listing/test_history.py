"""What manifests tell of how an instance is defined, and of whether it is still there."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.listing.history import history
from three_backup.listing.presence import is_live
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.watching.last_run import LastRun, Made

WEB = ObjectId("lxd", "container", "default", "default", "web")
CARRIER = Carrier(WEB)
FIRST = datetime(2026, 11, 1, 3, 16, tzinfo=UTC)
PROFILE = {"name": "default", "config": {"limits.cpu": "2"}, "devices": {}}


def stored(folder: Path, *all_facts: dict[str, Any]) -> Catalog:
    """Return a catalog of one snapshot of the container for each of these facts."""
    catalog = Catalog(Storage(folder))
    for day, facts in enumerate(all_facts):
        manifest = Manifest(
            carrier=CARRIER,
            snapshot=SnapshotId(FIRST + timedelta(days=day)),
            objects=(CarriedObject(WEB, 1000 + day, {"kind": "container"}),),
            files=(),
            source_size=1000,
            stored_size=10,
            facts=facts,
            program="three_backup",
            server="LXD",
            host="db1",
        )
        with catalog.local.begin(CARRIER, manifest.snapshot) as unfinished:
            catalog.local.commit(unfinished, manifest)
    return catalog


def facts(config: dict[str, str], profile: dict[str, Any] = PROFILE, **devices: Any) -> Any:
    return {"configuration": {"config": config, "devices": devices}, "profiles": [profile]}


def test_the_names_of_what_changed_are_told_and_no_value(tmp_path: Path) -> None:
    catalog = stored(
        tmp_path,
        facts({"limits.memory": "1GB", "volatile.uuid": "1"}, root={"path": "/"}),
        facts({"limits.memory": "1GB", "volatile.uuid": "2"}, root={"path": "/"}),
        facts({"environment.PASSWORD": "hunter2", "limits.memory": "2GB"}, root={"path": "/"}),
        facts(
            {"limits.memory": "2GB"},
            {**PROFILE, "config": {"limits.cpu": "4"}},
            eth0={"type": "nic"},
        ),
    )
    found = history(catalog, CARRIER, WEB, lambda _, error: pytest.fail(str(error)))
    assert found is not None
    assert [moment.size for moment in found.moments] == [1000, 1001, 1002, 1003]
    assert [moment.changed for moment in found.moments] == [
        (),
        (),
        ("environment.PASSWORD added", "limits.memory"),
        (
            "device eth0 added",
            "device root removed",
            "environment.PASSWORD removed",
            "profile default: limits.cpu",
        ),
    ]


def test_what_no_snapshot_of_the_carrier_holds_has_no_history(tmp_path: Path) -> None:
    errors: list[BackupError] = []
    catalog = stored(tmp_path, facts({}))
    other = ObjectId("lxd", "container", "default", "default", "other")
    assert history(catalog, CARRIER, other, lambda _, error: errors.append(error)) is None
    assert errors == []


@pytest.mark.parametrize(
    ("seen", "listed", "live"),
    [(True, ("lxd",), True), (False, ("lxd",), False), (False, ("postgres",), None)],
)
def test_the_last_run_tells_whether_an_instance_is_still_there(
    seen: bool, listed: tuple[str, ...], live: bool | None
) -> None:
    carriers = {CARRIER: Made(1)} if seen else {}
    last = LastRun(FIRST, FIRST, 0, listed=listed, carriers=carriers)
    assert is_live(CARRIER, last, in_newest=None) is live
    assert is_live(CARRIER, None, in_newest=None) is None
    assert is_live(Carrier("postgres/cluster/7"), last, in_newest=True) is True
