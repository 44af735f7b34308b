"""What was restored has the root disk that it had, and texts of any length."""

import json
from typing import Any

import pytest
import yaml

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host

MIB = 1 << 20
LONG = {
    "description": "\u0416" * 100_000,
    "config": {"size": "9MiB", "user.note": "x" * 200_000, f"user.{'k' * 3000}": "of a long key"},
}
OWN = {"type": "disk", "path": "/", "pool": "default", "size": "24MiB", "limits.read": "10MB"}
PROFILES = {
    "named": {"disk0": {**OWN, "size": "20MiB"}},
    "lost": {"root": {**OWN, "size": "28MiB"}},
    "changed": {"root": {**OWN, "size": "32MiB"}},
    "gains": {},
}
INSTANCES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "of-profile": (["named"], {}),
    "of-lost": (["default", "lost"], {}),
    "of-changed": (["changed"], {}),
    "own": ([], {"disk0": {**OWN, "boot.priority": "3"}}),
    "masked": (["gains"], {"disk0": OWN}),
    "override": (["default"], {"root": OWN}),
}
QUOTAS = dict(zip(INSTANCES, (20, 28, 32, 24, 24, 24), strict=True))
POOLS = {"default": "tank", "second": "second"}


def path(kind: str, name: str, pool: str = "default") -> str:
    return f"lxd/{kind}/{pool}/default/{name}"


@pytest.fixture(scope="module", autouse=True)
def made(host: Host, lab: Lab) -> None:
    """Instances whose root disks are told in every way, and a volume with long texts, all lost."""
    for name, devices in PROFILES.items():
        lab.sh(f"lxc profile create {name}")
        lab.sh(f"lxc profile edit {name}", json.dumps({"config": {}, "devices": devices}))
    for name, (profiles, devices) in INSTANCES.items():
        source = {"type": "image", "alias": "tiny"}
        body = {"name": name, "source": source, "profiles": profiles, "devices": devices}
        lab.sh(f"lxc query --wait -X POST -d '{json.dumps(body)}' /1.0/instances")
    lab.sh("lxc storage volume create default long")
    lab.sh("lxc storage volume edit default long", yaml.safe_dump(LONG))
    host.good("tb-discover -s lxd | tb-snapshot --base | tb-upload")
    for name in INSTANCES:
        assert quota(lab, name) == QUOTAS[name] * MIB
        lab.sh(f"lxc delete {name}")
    lab.sh("lxc storage volume delete default long && lxc profile delete lost")
    for name, given in {
        "changed": {"root": {**OWN, "size": "40MiB"}},
        "gains": {"root": OWN},
    }.items():
        lab.sh(f"lxc profile edit {name}", json.dumps({"config": {}, "devices": given}))
    host.wipe()


def quota(lab: Lab, name: str, pool: str = "default", kind: str = "containers") -> int:
    dataset = f"{POOLS[pool]}/lxd/{kind}/{name}"
    return int(lab.sh(f"zfs get -Hpo value quota {dataset}").strip())


def test_each_has_the_quota_that_it_had_of_whichever_device(host: Host, lab: Lab) -> None:
    names = ("of-profile", "of-lost", "of-changed", "masked")
    notes = restored(host, "default", *names)
    assert "size was 32MiB, is 40MiB" in notes["of-changed"][0]
    sizes = {name: quota(lab, name) // MIB for name in names}
    assert sizes == {**{name: QUOTAS[name] for name in names}, "of-changed": 40}
    assert inside.instance(lab, "of-profile")["devices"] == {}
    masked = inside.instance(lab, "masked")["devices"]
    assert masked == {"root": {"type": "none"}, "disk0": OWN}
    lab.sh("lxc start masked")
    lab.sh(f"lxc delete --force {' '.join(names)}")


def test_another_pool_takes_the_quota_over(host: Host, lab: Lab) -> None:
    names = ("own", "override", "of-changed")
    restored(host, "second", *names)
    assert {name: quota(lab, name, "second") // MIB for name in names} == {
        name: QUOTAS[name] for name in names
    }
    own = inside.instance(lab, "own")["devices"]
    assert own == {"disk0": {**OWN, "boot.priority": "3", "pool": "second"}}
    lab.sh(f"lxc start own && lxc delete --force {' '.join(names)}")


def restored(host: Host, pool: str, *names: str) -> dict[str, list[str]]:
    """Restore containers into a pool; return the notes on each."""
    objects = " ".join(path("container", name) for name in names)
    done = host.good(f"tb-restore --without-devices --level1 {pool} {objects}")
    return {record["level3"]: record["restored"].get("notes", []) for record in done.records}


def test_a_volume_comes_back_with_texts_of_any_length(host: Host, lab: Lab) -> None:
    host.good(f"tb-restore --level1 second {path('volume', 'long')}")
    found = inside.query(lab, "/1.0/storage-pools/second/volumes/custom/long")
    kept = {key: value for key, value in found["config"].items() if key in LONG["config"]}
    assert {"description": found["description"], "config": kept} == LONG
    assert quota(lab, "default_long", "second", "custom") == 9 * MIB
