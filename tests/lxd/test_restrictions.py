"""What a restricted project forbids an instance is told with the key that allows it."""

import pytest

from three_backup.sources.lxd.targets.restrictions import forbidden, forbids_snapshots

ON = {"restricted": "true"}
LOW = "restricted.containers.lowlevel"
NIC, DISK = "restricted.devices.nic", "restricted.devices.disk"
PATH = {"type": "disk", "source": "/srv/a", "path": "/a"}
VOLUME = {"type": "disk", "pool": "default", "source": "a", "path": "/a"}
ROOT = {"type": "disk", "pool": "default", "path": "/"}
MANAGED = {"type": "nic", "network": "lxdbr0"}
PARENT = {"type": "nic", "nictype": "macvlan", "parent": "eth0"}
ACCESS = "restricted.networks.access"
PRIVILEGE = "restricted.containers.privilege"

CONFIGS = [
    ({}, {"security.privileged": "true"}, (PRIVILEGE, "allow")),
    ({PRIVILEGE: "isolated"}, {"security.idmap.isolated": "false"}, (PRIVILEGE, "unprivileged")),
    ({}, {"security.nesting": "1"}, ("restricted.containers.nesting", "allow")),
    ({}, {"raw.lxc": "x"}, (LOW, "allow")),
    ({}, {"raw.idmap": "both 1000 1000"}, (LOW, "allow")),
    ({}, {"linux.kernel_modules": "wireguard"}, (LOW, "allow")),
    ({}, {"security.syscalls.intercept.mount.shift": "true"}, (LOW, "allow")),
    (
        *({}, {"security.syscalls.intercept.mknod": "true"}),
        ("restricted.containers.interception", "allow"),
    ),
]
DEVICES = [
    ({}, PATH, (DISK, "allow")),
    ({DISK: "block"}, VOLUME, (DISK, "managed")),
    ({DISK: "allow", f"{DISK}.paths": "/opt"}, PATH, (f"{DISK}.paths", "/opt,/srv/a")),
    ({}, PARENT, (NIC, "allow")),
    ({NIC: "block"}, MANAGED, (NIC, "managed")),
    ({NIC: "block"}, PARENT, (NIC, "allow")),
    ({ACCESS: "wire"}, MANAGED, (ACCESS, "wire,lxdbr0")),
    *(
        ({}, {"type": kind}, (f"restricted.devices.{kind}", "allow"))
        for kind in ("unix-char", "unix-block", "unix-hotplug", "infiniband", "gpu", "usb")
    ),
    ({}, {"type": "pci"}, ("restricted.devices.pci", "allow")),
    ({}, {"type": "proxy"}, ("restricted.devices.proxy", "allow")),
]

Config = dict[str, str]


@pytest.mark.parametrize(("project", "config", "allowing"), CONFIGS)
def test_a_key_is_forbidden_until_it_is_allowed(
    project: Config, config: Config, allowing: tuple[str, str]
) -> None:
    (found,) = forbidden({**ON, **project}, config, {})
    assert (found.key, found.value) == allowing
    assert forbidden({**ON, **project, found.key: found.value}, config, {}) == []
    assert forbidden({**project, "restricted": "false"}, config, {}) == []


@pytest.mark.parametrize("key", ["raw.qemu", "raw.idmap", "limits.memory.hugepages"])
def test_virtual_machines_have_low_level_keys_and_a_key_of_their_own(key: str) -> None:
    config = {key: "x", "security.nesting": "true", "raw.lxc": "x"}
    (found,) = forbidden(ON, config, {}, "vm")
    assert (found.what, found.key) == (key, "restricted.virtual-machines.lowlevel")
    assert forbidden({**ON, found.key: "allow"}, config, {}, "vm") == []


@pytest.mark.parametrize(("project", "device", "allowing"), DEVICES)
def test_a_device_is_forbidden_until_it_is_allowed(
    project: Config, device: Config, allowing: tuple[str, str]
) -> None:
    (found,) = forbidden({**ON, **project}, {}, {"a": device})
    assert (found.key, found.value) == allowing
    assert forbidden({**ON, **project, found.key: found.value}, {}, {"a": device}) == []


def test_what_any_project_may_have_passes() -> None:
    config = {"limits.memory": "1GiB", "security.nesting": "false", "user.a": "raw.lxc"}
    devices = {"root": ROOT, "data": VOLUME, "eth0": MANAGED, "gone": {"type": "none"}}
    assert forbidden(ON, config, devices) == []
    assert forbidden({**ON, "restricted.idmap.uid": "1000"}, {"raw.idmap": "uid 1000 0"}, {}) == []
    within = {**ON, DISK: "allow", f"{DISK}.paths": "/opt,/srv"}
    assert forbidden(within, {}, {"a": PATH}) == []


def test_a_restricted_project_has_no_snapshots_unless_it_allows_them() -> None:
    assert forbids_snapshots(ON)
    assert not forbids_snapshots({**ON, "restricted.snapshots": "allow"})
    assert not forbids_snapshots({"restricted.snapshots": "block"})
