"""The life of a container with volumes: a base and two incrementals, each restored from S3 alone,
in place and elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host

WEB = "lxd/container/default/shop/web"
SITE = "lxd/volume/default/shop/site"
DISK = "lxd/volume/default/shop/disk"
SELECT = "-s lxd/container/default/shop -s lxd/volume/default/shop"
POINT = f"tb-discover {SELECT} | tb-snapshot --incremental | tb-upload | tb-rotate"
DATASETS = {
    WEB: "tank/lxd/containers/shop_web",
    SITE: "tank/lxd/custom/shop_site",
}
ZVOL = "tank/lxd/custom/shop_disk"


@dataclass
class Life:
    """What three runs took, and what there was at each of them."""

    taken: list[dict[str, Any]] = field(default_factory=list)  # the records of a run, by id
    trees: list[dict[str, str]] = field(default_factory=list)  # of the datasets, by id
    disks: list[str] = field(default_factory=list)  # the SHA-256 of the block volume
    configuration: dict[str, Any] = field(default_factory=dict)  # of the container, at the end


def sha256(lab: Lab, zvol: str) -> str:
    return inside.block(lab, zvol, f"sha256sum < /dev/zvol/{zvol}")


def fill(lab: Lab) -> None:
    inside.create_network(lab)
    lab.sh(
        f"""
        set -e
        lxc profile create web --project shop
        lxc profile set web user.note 'from the profile' --project shop
        lxc storage volume create default site --project shop
        lxc storage volume create default disk --type=block size=8MB --project shop
        lxc init tiny web -p default -p web --project shop -c limits.memory=200MB \\
            -c user.note='its own' -c environment.TOKEN=hushhush
        lxc config device add web data disk pool=default source=site path=/data --project shop
        lxc config device add web eth1 {inside.NIC} --project shop
        lxc start web --project shop
        lxc exec web --project shop -- sh -ec '
            mkdir /srv/own
            head -c 3000000 /dev/urandom > /srv/own/noise
            echo base > /srv/own/word
            chown -R 1000:1001 /srv/own
            chmod 4750 /srv/own/noise
            ln -s own/word /srv/link
            ln /srv/own/word /srv/twin
            echo volume > /data/word
            chown 33:33 /data /data/word'
        lxc stop --force web --project shop
        """
    )
    inside.block(lab, ZVOL, f"head -c 4000000 /dev/urandom > /dev/zvol/{ZVOL}")


def change(lab: Lab, number: int) -> None:
    for dataset, path in ((DATASETS[WEB], "rootfs/srv/own/word"), (DATASETS[SITE], "word")):
        inside.change(lab, dataset, f"echo change {number} >> {path}")
    write = f"dd if=/dev/urandom of=/dev/zvol/{ZVOL} bs=64k count=1 seek={number} conv=notrunc"
    inside.block(lab, ZVOL, f"{write} 2>/dev/null")


@pytest.fixture(scope="module")
def life(host: Host, lab: Lab) -> Life:
    """Three snapshots of each object; then the local files and LXD's objects are lost."""
    fill(lab)
    life = Life()
    for number in range(3):
        if number:
            change(lab, number)
        done = host.good(POINT).records
        life.taken.append({record["id"]: record for record in done})
        life.trees.append(
            {object_id: inside.tree(lab, dataset) for object_id, dataset in DATASETS.items()}
        )
        life.disks.append(sha256(lab, ZVOL))
    life.configuration = inside.instance(lab, "web", "shop")
    lab.sh(
        "lxc delete web --project shop && lxc profile delete web --project shop"
        " && lxc network delete wire"
        " && for volume in site disk; do"
        " lxc storage volume delete default $volume --project shop; done"
    )
    host.wipe()
    return life


def ids(life: Life, object_id: str) -> Sequence[str]:
    return [records[object_id]["snapshot"]["id"] for records in life.taken]


@pytest.mark.parametrize("object_id", [WEB, SITE, DISK])
def test_after_a_base_come_increments_of_what_changed(life: Life, object_id: str) -> None:
    taken = [records[object_id]["snapshot"] for records in life.taken]
    assert [snapshot["kind"] for snapshot in taken] == ["base", "incremental", "incremental"]
    sent = [records[object_id]["uploaded"]["bytes"] for records in life.taken]
    assert all(size < sent[0] / 4 for size in sent[1:]) if object_id != SITE else min(sent) > 0
    assert life.taken[-1][object_id]["stage"] == "rotated_s3"


def test_what_is_missing_is_named_before_anything_is_made(
    host: Host, life: Life, lab: Lab
) -> None:
    refused = host.sh(f"tb-restore {WEB}")
    assert refused.status == 1
    assert "profile web" in refused.stderr
    assert "volume site" in refused.stderr
    assert "network wire" in refused.stderr
    assert "--without-devices" in refused.stderr
    assert inside.query(lab, "/1.0/instances?project=shop") == []


def test_a_dry_run_says_what_it_would_read_and_make(host: Host, life: Life, lab: Lab) -> None:
    refused = host.sh(f"tb-restore --dry-run {WEB}")
    assert refused.status == 1
    assert "network wire" in refused.stderr
    would = host.good(f"tb-restore --dry-run --without-devices --level3 alone {WEB} {SITE}")
    assert "nothing was touched; 2 objects can be restored" in would.stderr
    plan = {record["id"]: record["would_restore"] for record in would.records}[WEB]
    assert plan["chain"] == ids(life, WEB)
    assert plan["read_from"] == {"s3": plan["bytes_read"]}
    stored = [records[WEB]["uploaded"]["bytes"] for records in life.taken]
    assert 0 < plan["bytes_read"] <= sum(stored)
    assert inside.query(lab, "/1.0/instances?project=shop") == []


@pytest.mark.parametrize("name", ["../web", "web;reboot", "--force"])
def test_a_name_that_lxd_would_refuse_in_the_end_is_refused_first(
    host: Host, life: Life, lab: Lab, name: str
) -> None:
    refused = host.tool("tb-restore", "--without-devices", f"--level3={name}", WEB)
    assert refused.status == 1
    assert "no container can be named" in refused.stderr
    assert "bytes_read" not in refused.stdout
    assert inside.query(lab, "/1.0/instances?project=shop") == []


def test_without_devices_it_comes_alone_and_says_what_it_lacks(
    host: Host, life: Life, lab: Lab
) -> None:
    done = host.good(f"tb-restore --without-devices --level3 alone {WEB}")
    notes = " ".join(done.records[0]["restored"]["notes"])
    assert "profile web" in notes
    assert "volume site" in notes
    assert "network wire" in notes
    assert inside.tree(lab, "tank/lxd/containers/shop_alone") == life.trees[2][WEB]
    alone = inside.instance(lab, "alone", "shop")
    assert alone["profiles"] == ["default"]
    assert "data" not in alone["devices"]
    lab.sh("lxc start alone --project shop && lxc delete --force alone --project shop")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_point_of_a_block_volume_is_equal_byte_for_byte(
    host: Host, life: Life, lab: Lab, number: int
) -> None:
    host.good(f"tb-restore --snapshot {ids(life, DISK)[number]} --level3 disk{number} {DISK}")
    assert sha256(lab, f"tank/lxd/custom/shop_disk{number}") == life.disks[number]


@pytest.mark.parametrize("number", [0, 1])
def test_an_older_point_comes_back_in_another_project_and_pool(
    host: Host, life: Life, lab: Lab, number: int
) -> None:
    snapshot = ids(life, WEB)[number]
    elsewhere = f"--level1 second --level2 default --level3 web{number}"
    host.good(f"tb-restore --without-devices --snapshot {snapshot} {elsewhere} {WEB}")
    assert inside.tree(lab, f"second/lxd/containers/web{number}") == life.trees[number][WEB]
    assert inside.points(lab, f"second/lxd/containers/web{number}") == []
    lab.sh(f"lxc start web{number} && lxc delete --force web{number}")


def test_everything_comes_back_in_place_as_it_was_and_starts(
    host: Host, life: Life, lab: Lab
) -> None:
    lab.sh("lxc profile create web --project shop")
    lab.sh("lxc profile set web user.note 'from the profile' --project shop")
    inside.create_network(lab)
    host.good(f"tb-restore {SITE}")
    host.good(f"tb-restore {WEB}")
    for object_id, dataset in DATASETS.items():
        assert inside.tree(lab, dataset) == life.trees[2][object_id]
    assert described(inside.instance(lab, "web", "shop")) == described(life.configuration)
    lab.sh("lxc start web --project shop")
    seen = lab.sh(
        "lxc exec web --project shop -- sh -c '"
        "stat -c %U:%u:%g:%a /srv/own/noise; cat /srv/link; stat -c %h /srv/twin;"
        " stat -c %u:%g /data/word; cat /data/word; echo $TOKEN'"
    )
    assert seen.split("\n") == [
        *("UNKNOWN:1000:1001:4750", "base", "change 1", "change 2", "2"),
        *("33:33", "volume", "change 1", "change 2", "hushhush", ""),
    ]
    lab.sh("lxc stop --force web --project shop")


def test_what_replaces_it_has_its_addresses(host: Host, life: Life, lab: Lab) -> None:
    host.good(f"tb-restore --overwrite {WEB}")
    assert inside.tree(lab, DATASETS[WEB]) == life.trees[2][WEB]
    assert described(inside.instance(lab, "web", "shop")) == described(life.configuration)
    assert "tb-re" not in lab.sh("lxc list --project shop --format csv -c n")


def test_beside_it_another_one_has_its_own(host: Host, life: Life, lab: Lab) -> None:
    done = host.good(f"tb-restore --level3 twin {WEB}")
    (note,) = done.records[0]["restored"]["notes"]
    assert note.startswith(
        "eth1 is without hwaddr and ipv4.address (00:16:3e:0a:0b:0c, 10.77.0.7)"
    )
    twin = inside.instance(lab, "twin", "shop")
    assert twin["devices"]["eth1"] == {"type": "nic", "network": "wire", "name": "eth1"}
    lab.sh("lxc delete twin --project shop")


def test_the_next_run_says_why_it_takes_a_base_of_what_was_restored(
    host: Host, life: Life
) -> None:
    (done,) = host.good(f"tb-discover -s {WEB} | tb-plan | tb-snapshot | tb-upload").records
    assert "snapshot" not in done
    (done,) = host.good(f"tb-discover -s {WEB} | tb-snapshot --incremental | tb-upload").records
    assert done["snapshot"]["kind"] == "base"
    assert done["why"]


def described(instance: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of an instance without what LXD sets at each start or renaming."""
    keys = ("architecture", "description", "devices", "ephemeral", "profiles")
    own = ("volatile.idmap.", "volatile.last_state.", "volatile.apply_", "volatile.cloud-init.")
    config = {
        name: value for name, value in instance["config"].items() if not name.startswith(own)
    }
    return {"config": config, **{key: instance[key] for key in keys}}
