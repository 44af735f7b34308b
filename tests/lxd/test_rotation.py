"""Retention deletes points of LXD and snapshots in S3; what is still needed stays and is named."""

from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host

NAMES = ("held", "copied", "plain")
FORCED = "tb-discover -s lxd/container | tb-snapshot --base | tb-upload | tb-rotate {}"


@pytest.fixture(scope="module")
def first(host: Host, lab: Lab) -> dict[str, Any]:
    """The records of a first base of each container. Locally only the newest base is kept."""
    lab.sh(" && ".join(f"lxc init tiny {name}" for name in NAMES))
    inside.change(lab, dataset("plain"), "echo one > rootfs/word")
    host.configure(max_base_snapshots_local=1, max_incremental_snapshots_local=0)
    return {record["level3"]: record for record in host.good(FORCED.format("")).records}


def dataset(name: str) -> str:
    return f"tank/lxd/containers/{name}"


def restored(host: Host, name: str, record: dict[str, Any]) -> str:
    snapshot = record["snapshot"]["id"]
    host.good(f"tb-restore --snapshot {snapshot} --level3 {name} {record['id']}")
    return dataset(name)


def test_a_run_with_nothing_due_asks_no_more_than_a_discovery(
    host: Host, lab: Lab, first: dict[str, Any]
) -> None:
    assert {base["snapshot"]["kind"] for base in first.values()} == {"base"}
    with lab.calls() as discovery:
        host.good("tb-discover -s lxd/container")
    with lab.calls() as run:
        records = host.good("tb-run --json -s lxd/container").records
    assert [record["todo"] for record in records] == [[], [], []]
    assert run == discovery


def test_points_go_but_for_what_somebody_holds_and_restore_needs_none(
    host: Host, lab: Lab, first: dict[str, Any]
) -> None:
    old = {name: inside.points(lab, dataset(name))[0] for name in NAMES}
    lab.sh(f"lxc snapshot held mine && zfs hold keep {dataset('held')}@{old['held']}")
    lab.sh(f"lxc copy copied/{old['copied'].removeprefix('snapshot-')} twin")
    twin, then = inside.tree(lab, dataset("twin")), inside.tree(lab, dataset("plain"))
    inside.change(lab, dataset("plain"), "echo two > rootfs/word")

    tried = host.good(FORCED.format("--dry-run")).records
    gone = [verdict for record in tried for verdict in record["verdicts"] if not verdict["keep"]]
    assert {verdict["snapshot"] for verdict in gone} >= {
        base["snapshot"]["id"] for base in first.values()
    }
    assert all(old[name] in inside.points(lab, dataset(name)) for name in NAMES)

    outcome = host.good("tb-discover -s lxd/container | tb-rotate")
    assert first["held"]["snapshot"]["id"] in outcome.stderr
    assert "hold" in outcome.stderr
    assert inside.points(lab, dataset("held"))[:2] == [old["held"], "snapshot-mine"]
    for name in ("copied", "plain"):
        (left,) = (point for point in inside.points(lab, dataset(name)) if "snapshot-" in point)
        assert left != old[name]  # LXD keeps the copied point as `deleted-...`, for the copy
    assert inside.tree(lab, dataset("twin")) == twin
    assert inside.tree(lab, restored(host, "old", first["plain"])) == then

    lab.sh(f"zfs release keep {dataset('held')}@{old['held']}")
    host.good("tb-discover -s lxd/container/default/default/held | tb-rotate")
    assert old["held"] not in inside.points(lab, dataset("held"))


def test_what_is_there_restores_while_s3_is_away(
    host: Host, lab: Lab, first: dict[str, Any]
) -> None:
    (newest,) = host.good(f"tb-discover -s {first['plain']['id']} | tb-snapshot --base").records
    now = inside.tree(lab, dataset("plain"))
    host.configure(s3_endpoint="http://127.0.0.1:9")
    assert inside.tree(lab, restored(host, "new", newest)) == now
    host.configure(max_base_snapshots_local=1, max_incremental_snapshots_local=0)
