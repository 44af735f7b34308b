"""Tells what of a host a device needs and the host lacks, for every type of device. Pure.

The types are those of LXD 5.0 and Incus 6.0. LXD finds out only when the instance starts, or when
its configuration is set. Nothing is asked of `none`, and of `tpm`, whose emulator comes with LXD.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

Json = Mapping[str, Any]

TRUE = ("true", "1", "yes", "on")
"""Values that LXD takes for yes."""

NONE = {"type": "none"}
"""A device that masks a profile's device of the same name."""

_ADDRESSES = ("hwaddr", "ipv4.address", "ipv6.address")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, never listened on
_ON_INSTANCE = ("instance", "guest", "container")
_PCI_DOMAIN = "0000:"


@dataclass(frozen=True, slots=True)
class Here:
    """The things that exist where the instance shall be."""

    pool: str  # the target's
    profiles: Mapping[str, Json]  # whole, by name
    networks: frozenset[str] = frozenset()  # that LXD manages, those of the project
    interfaces: frozenset[str] = frozenset()  # of the host
    acls: frozenset[str] = frozenset()
    volumes: frozenset[tuple[str, str]] = frozenset()  # custom ones, as pool and name
    paths: frozenset[str] = frozenset()  # those that devices need and that exist
    addresses: frozenset[str] = frozenset()  # those that proxies listen on and that can be had
    resources: Mapping[str, Sequence[Json]] = field(default_factory=dict)  # gpu, usb and pci


def lacks(device: Json, here: Here) -> str | None:
    """Return what the device needs and this host lacks, for people; None if it has everything."""
    judge = _JUDGES.get(device["type"])
    return judge(device, here) if judge else None


def is_set(device: Json, key: str, default: str = "") -> bool:
    return (device.get(key) or default).lower() in TRUE


def is_exclusive(device: Json) -> bool:
    """Return whether it is a block volume: only one instance has it, unless it is shared."""
    is_volume = device["type"] == "disk" and device.get("pool") and device.get("source")
    return bool(is_volume) and not device.get("path")


def host_path(device: Json) -> str | None:
    """Return the path of the host that a device cannot do without; None if it needs none."""
    kind, source = device["type"], str(device.get("source", ""))
    if kind == "disk":
        is_local = "pool" not in device and source.startswith("/")
        is_optional = not is_set(device, "required", "true") or is_set(device, "optional")
        return source if is_local and not is_optional else None
    if kind in ("unix-char", "unix-block"):
        is_made = device.get("major") and device.get("minor")
        path = source or str(device.get("path", ""))
        return path if is_set(device, "required", "true") and not is_made else None
    if kind == "proxy" and (socket := _listening(device, "unix")):
        return None if socket.startswith("@") else str(PurePath(socket).parent)
    return None


def listening_address(device: Json) -> str | None:
    """Return the address of the host that a proxy listens on; None if any will do."""
    if device["type"] != "proxy":
        return None
    found = _listening(device, "tcp") or _listening(device, "udp")
    address = found.rpartition(":")[0].strip("[]")
    return address if address and address not in _WILDCARDS else None


def needs(device: Json) -> set[str]:
    """Return the lists of the host that tell whether it has what the device needs."""
    if device["type"] in ("nic", "infiniband"):
        keys = {"network": "networks", "parent": "interfaces", "security.acls": "acls"}
        return {listed for key, listed in keys.items() if device.get(key)}
    return {"resources"} if device["type"] in ("gpu", "usb", "unix-hotplug", "pci") else set()


def fixed_addresses(device: Json) -> dict[str, str]:
    """Return the addresses that somebody gave a NIC; none for other devices."""
    if device["type"] != "nic":
        return {}
    return {key: device[key] for key in _ADDRESSES if device.get(key, "none") != "none"}


def acls_of(device: Json) -> list[str]:
    return [acl for name in device.get("security.acls", "").split(",") if (acl := name.strip())]


def stranded_proxies(devices: Mapping[str, Json]) -> list[str]:
    """Return the proxies by NAT that lead to an address that no NIC of the instance has."""
    return [
        name
        for name, device in devices.items()
        if device["type"] == "proxy" and is_set(device, "nat") and not _leads(device, devices)
    ]


def _leads(proxy: Json, devices: Mapping[str, Json]) -> bool:
    address = str(proxy["connect"]).partition(":")[2].rpartition(":")[0].strip("[]")
    key = "ipv6.address" if ":" in address else "ipv4.address"
    fixed = {nic[key] for nic in devices.values() if nic["type"] == "nic" and nic.get(key)}
    return address in fixed or (address in _WILDCARDS and bool(fixed))


def _listening(proxy: Json, protocol: str) -> str:
    """Return where a proxy listens on the host by a protocol; empty if it does not."""
    kind, _, place = str(proxy.get("listen", "")).partition(":")
    return place if kind == protocol and proxy.get("bind") not in _ON_INSTANCE else ""


def _nic(device: Json, here: Here) -> str | None:
    network = device.get("network")
    if network and network not in here.networks:
        return f"network {network}"
    if unknown := [acl for acl in acls_of(device) if acl not in here.acls]:
        return f"network ACL {unknown[0]}"
    return _parent(device, here)


def _parent(device: Json, here: Here) -> str | None:
    parent = device.get("parent")
    return f"network interface {parent}" if parent and parent not in here.interfaces else None


def _disk(device: Json, here: Here) -> str | None:
    pool, volume = device.get("pool"), str(device.get("source", "")).partition("/")[0]
    if pool and volume:
        return None if (pool, volume) in here.volumes else f"volume {volume} of pool {pool}"
    return _path(device, here)


def _path(device: Json, here: Here) -> str | None:
    path = host_path(device)
    return f"path {path} of the host" if path and path not in here.paths else None


def _proxy(device: Json, here: Here) -> str | None:
    address = listening_address(device)
    if address and address not in here.addresses:
        return f"address {address} of the host"
    return _path(device, here)


def _gpu(device: Json, here: Here) -> str | None:
    wanted = _asked(device, {"vendorid": "vendor_id", "productid": "product_id", "id": "id"})
    pci = _pci_address(device.get("pci", ""))
    for card in here.resources.get("gpu", ()):
        known = {**card, "id": str((card.get("drm") or {}).get("id"))}
        is_it = all(known.get(key) == value for key, value in wanted.items())
        if is_it and pci in ("", card.get("pci_address")) and _has_profile(device, card):
            return None
    return _named("GPU", device, "vendorid", "productid", "id", "pci", "mdev")


def _has_profile(device: Json, card: Json) -> bool:
    return not device.get("mdev") or device["mdev"] in (card.get("mdev") or {})


def _usb(device: Json, here: Here) -> str | None:
    """Judge a device that an instance needs only if it says so; others may be plugged in later."""
    wanted = _asked(device, {"vendorid": "vendor_id", "productid": "product_id"})
    plugged = (
        all(usb.get(key) == value for key, value in wanted.items())
        and device.get("serial") in (None, "", usb.get("serial", device.get("serial")))
        for usb in here.resources.get("usb", ())
    )
    if not is_set(device, "required") or any(plugged):
        return None
    return _named("USB device", device, "vendorid", "productid", "serial")


def _pci(device: Json, here: Here) -> str | None:
    address = _pci_address(device["address"])
    there = {found.get("pci_address") for found in here.resources.get("pci", ())}
    return None if address in there else f"PCI device {address}"


def _pci_address(text: str) -> str:
    """Return a PCI address as the kernel writes it."""
    short = len("00:00.0")
    return (f"{_PCI_DOMAIN}{text}" if len(text) == short else text).lower()


def _asked(device: Json, keys: Mapping[str, str]) -> dict[str, str]:
    return {known: device[key] for key, known in keys.items() if device.get(key)}


def _named(what: str, device: Json, *keys: str) -> str:
    named = [f"{key}={device[key]}" for key in keys if device.get(key)]
    return f"{what} {' '.join(named)}".rstrip()


_JUDGES: Mapping[str, Callable[[Json, Here], str | None]] = {
    "nic": _nic,
    "infiniband": _parent,
    "disk": _disk,
    "unix-char": _path,
    "unix-block": _path,
    "unix-hotplug": _usb,
    "usb": _usb,
    "gpu": _gpu,
    "pci": _pci,
    "proxy": _proxy,
}
