"""What of a host a device needs is told for each type of device that LXD knows."""

import pytest

from three_backup.sources.lxd.targets.devices import (
    Here,
    host_path,
    lacks,
    listening_address,
    needs,
)

CARD = {"vendor_id": "10de", "product_id": "1eb8", "pci_address": "0000:65:00.0"}
HERE = Here(
    "default",
    {},
    networks=frozenset({"lxdbr0"}),
    interfaces=frozenset({"lxdbr0", "eth0", "ib0"}),
    acls=frozenset({"web"}),
    volumes=frozenset({("default", "data")}),
    paths=frozenset({"/srv", "/dev/kvm", "/run"}),
    addresses=frozenset({"192.0.2.1", "fd00::1"}),
    resources={
        "gpu": [{**CARD, "drm": {"id": 1}, "mdev": {"i915-GVTg": {}}}],
        "usb": [{"vendor_id": "0403", "product_id": "6001", "serial": "A1"}],
        "pci": [{"pci_address": "0000:07:03.0"}],
    },
)
BARE = Here("default", {})

LACKING = {
    "network wire": {"type": "nic", "network": "wire"},
    "network eth0": {"type": "nic", "network": "eth0"},
    "network interface br9": {"type": "nic", "nictype": "bridged", "parent": "br9"},
    "network interface enp9s0": {"type": "nic", "nictype": "macvlan", "parent": "enp9s0"},
    "network interface enp8s0": {"type": "nic", "nictype": "physical", "parent": "enp8s0"},
    "network interface ib9": {"type": "infiniband", "nictype": "sriov", "parent": "ib9"},
    "network ACL db": {"type": "nic", "network": "lxdbr0", "security.acls": "web, db"},
    "volume site of pool default": {"type": "disk", "pool": "default", "source": "site"},
    "volume data of pool gone": {"type": "disk", "pool": "gone", "source": "data"},
    "path /gone of the host": {"type": "disk", "source": "/gone", "path": "/x"},
    "path /dev/nvram of the host": {"type": "unix-char", "path": "/dev/nvram"},
    "path /dev/sdz of the host": {"type": "unix-block", "source": "/dev/sdz", "path": "/dev/a"},
    "GPU vendorid=8086": {"type": "gpu", "vendorid": "8086"},
    "GPU pci=66:00.0": {"type": "gpu", "gputype": "mig", "pci": "66:00.0"},
    "GPU id=0": {"type": "gpu", "id": "0"},
    "GPU mdev=nvidia-35": {"type": "gpu", "gputype": "mdev", "mdev": "nvidia-35"},
    "USB device vendorid=1d6b": {"type": "usb", "vendorid": "1d6b", "required": "true"},
    "USB device serial=B2": {"type": "usb", "serial": "B2", "required": "yes"},
    "USB device productid=9": {"type": "unix-hotplug", "productid": "9", "required": "1"},
    "PCI device 0000:08:00.0": {"type": "pci", "address": "08:00.0"},
    "address 203.0.113.7 of the host": {"type": "proxy", "listen": "tcp:203.0.113.7:80"},
    "address fd00::2 of the host": {"type": "proxy", "listen": "udp:[fd00::2]:53"},
    "path /gone/run of the host": {"type": "proxy", "listen": "unix:/gone/run/a"},
}
THERE = [
    {"type": "nic", "network": "lxdbr0", "security.acls": "web"},
    {"type": "nic", "nictype": "macvlan", "parent": "eth0"},
    {"type": "nic", "nictype": "routed"},
    {"type": "nic", "nictype": "p2p"},
    {"type": "infiniband", "nictype": "physical", "parent": "ib0"},
    {"type": "disk", "path": "/", "pool": "anything"},
    {"type": "disk", "pool": "default", "source": "data/folder"},
    {"type": "disk", "source": "/srv", "path": "/x"},
    {"type": "disk", "source": "ceph:pool/volume", "path": "/x"},
    {"type": "unix-char", "path": "/dev/kvm"},
    {"type": "unix-char", "path": "/dev/mine", "major": "10", "minor": "200"},
    {"type": "unix-block", "source": "/dev/sdz", "required": "false"},
    {"type": "gpu"},
    {"type": "gpu", "vendorid": "10de", "productid": "1eb8"},
    {"type": "gpu", "pci": "65:00.0", "mdev": "i915-GVTg"},
    {"type": "gpu", "id": "1"},
    {"type": "usb", "vendorid": "1d6b"},
    {"type": "usb", "vendorid": "0403", "serial": "A1", "required": "true"},
    {"type": "unix-hotplug", "vendorid": "1d6b"},
    {"type": "pci", "address": "07:03.0"},
    {"type": "proxy", "listen": "tcp:0.0.0.0:80"},
    {"type": "proxy", "listen": "tcp:192.0.2.1:80,90-99"},
    {"type": "proxy", "listen": "tcp:[::]:80"},
    {"type": "proxy", "listen": "udp:[fd00::1]:53"},
    {"type": "proxy", "listen": "tcp:203.0.113.7:80", "bind": "instance"},
    {"type": "proxy", "listen": "unix:/run/a"},
    {"type": "proxy", "listen": "unix:@abstract"},
    {"type": "tpm", "path": "/dev/tpm0"},
    {"type": "none"},
]


@pytest.mark.parametrize("what", LACKING)
def test_what_is_not_there_is_named(what: str) -> None:
    assert lacks(LACKING[what], HERE) == what


@pytest.mark.parametrize("device", THERE, ids=str)
def test_what_is_there_or_not_needed_is_not_missed(device: dict[str, str]) -> None:
    assert lacks(device, HERE) is None


def test_any_gpu_is_missed_where_there_is_none() -> None:
    assert lacks({"type": "gpu"}, BARE) == "GPU"


def path_of(**device: str) -> str | None:
    return host_path({"type": "disk", "source": "/srv/gone", "path": "/data", **device})


def test_a_path_of_the_host_is_needed_unless_the_device_can_do_without() -> None:
    assert path_of() == path_of(required="true") == path_of(required="") == "/srv/gone"
    assert path_of(optional="false") == "/srv/gone"
    assert path_of(required="false") is None
    assert path_of(optional="true") is None
    assert path_of(pool="default") is None
    assert path_of(type="unix-char") == "/srv/gone"
    assert path_of(source="ceph:pool/volume") is None


def test_lxd_is_asked_only_for_what_a_device_needs() -> None:
    assert needs({"type": "nic", "network": "a", "security.acls": "b"}) == {"networks", "acls"}
    assert needs({"type": "nic", "parent": "a"}) == {"interfaces"}
    assert needs({"type": "gpu"}) == needs({"type": "usb"}) == {"resources"}
    assert needs({"type": "disk"}) == set()
    assert listening_address({"type": "nic", "listen": "tcp:192.0.2.1:1"}) is None
