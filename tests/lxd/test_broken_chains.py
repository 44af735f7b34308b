"""Where no incremental can follow, a base is taken and the reason is told. What the operator does
with LXD's own programs does no harm."""

from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host
from three_backup.errors import BackupError

NAMES = ("rolled", "anew", "replaced", "moved", "pruned", "origin", "mislaid")
SAFE = "lxd/container/secret/default/safe"


@pytest.fixture(scope="module")
def based(host: Host, lab: Lab) -> Host:
    """A host with containers that each have a base in S3; one container is encrypted."""
    make = [f"lxc init tiny {name}" for name in NAMES]
    lab.sh(" && ".join((*make, "lxc init tiny safe -s secret")))
    inside.change(lab, "tank/secret/containers/safe", "echo whisper > rootfs/word")
    host.good("tb-discover -s lxd/container | tb-snapshot --base | tb-upload")
    return host


def container(name: str, pool: str = "default") -> str:
    return f"lxd/container/{pool}/default/{name}"


def dataset(name: str) -> str:
    return f"tank/lxd/containers/{name}"


def point(lab: Lab, name: str) -> str:
    """Return the name that LXD gives the only point of a container."""
    (only,) = inside.points(lab, dataset(name))
    return only.removeprefix("snapshot-")


def taken(host: Host, object_id: str) -> dict[str, Any]:
    """Ask for an incremental of the object, and return its record."""
    (record,) = host.good(
        f"tb-discover -s {object_id} | tb-snapshot --incremental | tb-upload"
    ).records
    return record


def test_what_lxd_restored_to_an_older_snapshot_gets_a_base(based: Host, lab: Lab) -> None:
    inside.change(lab, dataset("rolled"), "echo early > rootfs/word")
    lab.sh("lxc snapshot rolled mine")
    assert taken(based, container("rolled"))["snapshot"]["kind"] == "incremental"
    with pytest.raises(BackupError, match=r"zfs\.remove_snapshots"):
        lab.sh("lxc restore rolled mine")
    lab.sh("lxc storage volume set default container/rolled zfs.remove_snapshots=true")
    lab.sh("lxc restore rolled mine")
    record = taken(based, container("rolled"))
    assert record["snapshot"]["kind"] == "base"
    assert "gone" in record["why"]
    based.good(f"tb-restore --level3 back {container('rolled')}")
    assert inside.tree(lab, dataset("back")) == inside.tree(lab, dataset("rolled"))


def test_what_was_made_anew_under_the_same_name_gets_a_base(based: Host, lab: Lab) -> None:
    lab.sh("lxc delete anew && lxc init tiny anew")
    record = taken(based, container("anew"))
    assert record["snapshot"]["kind"] == "base"
    assert record["why"]


def test_a_point_that_was_replaced_by_one_of_its_name_is_no_parent(based: Host, lab: Lab) -> None:
    name = point(lab, "replaced")
    lab.sh(f"lxc delete replaced/{name} && lxc snapshot replaced {name}")
    assert taken(based, container("replaced"))["snapshot"]["kind"] == "base"


def test_what_moved_to_another_pool_is_another_object_with_a_base(based: Host, lab: Lab) -> None:
    lab.sh("lxc move moved apart -s second && lxc move apart moved")
    assert taken(based, container("moved", "second"))["snapshot"]["kind"] == "base"


def test_a_plan_says_why_the_chain_cannot_go_on(based: Host, lab: Lab) -> None:
    lab.sh(f"lxc delete pruned/{point(lab, 'pruned')}")
    based.configure(incremental_schedule='"* * * * *"', base_schedule="0 0 1 1 *")
    (record,) = based.good(f"tb-discover -s {container('pruned')} | tb-plan").records
    based.configure()
    assert record["take"] == "base"
    assert "gone" in record["why"]


def test_points_that_lxc_copy_brought_along_are_told_of(based: Host, lab: Lab) -> None:
    lab.sh("lxc copy origin twin")
    brought = point(lab, "twin").removeprefix("tb-")
    done = based.good(f"tb-run -s {container('twin')}")
    assert brought in done.stderr


def test_points_are_known_again_once_this_host_lost_its_manifests(based: Host, lab: Lab) -> None:
    based.wipe()
    assert taken(based, container("mislaid"))["snapshot"]["kind"] == "incremental"
    assert len(inside.points(lab, dataset("mislaid"))) == 2


def test_an_encrypted_dataset_is_sent_raw_and_comes_back(based: Host, lab: Lab) -> None:
    encrypted = "tank/secret/containers/safe"
    inside.change(lab, encrypted, "echo louder >> rootfs/word")
    assert taken(based, SAFE)["snapshot"]["kind"] == "incremental"
    then = inside.tree(lab, encrypted)
    (proved,) = based.good(f"tb-verify {SAFE}").records
    assert proved["drilled"]["how"] == "restored"
    lab.sh("lxc delete safe")
    based.good(f"tb-restore {SAFE}")
    assert inside.tree(lab, encrypted) == then
    assert lab.sh(f"zfs get -Ho value encryption {encrypted}").strip() != "off"
