"""Tells what a restricted project forbids an instance, as LXD's checkRestrictions has it. Pure.

LXD itself says so only when an instance is made or configured, one thing at a time.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from three_backup.sources.lxd.daemon.names import CONTAINER, MACHINE
from three_backup.sources.lxd.targets.devices import Json, is_set

LOW_LEVEL = {
    CONTAINER: "restricted.containers.lowlevel",
    MACHINE: "restricted.virtual-machines.lowlevel",
}
"""The key of a project that allows low-level keys, by the subtype of the instance."""

SNAPSHOTS = "restricted.snapshots"

_ALLOW, _BLOCK, _MANAGED = "allow", "block", "managed"
_INTERCEPTIONS = tuple(
    f"security.syscalls.intercept.{name}"
    for name in ("bpf", "bpf.devices", "mknod", "mount", "mount.fuse", "setxattr", "sysinfo")
)
_INTERCEPT = "security.syscalls.intercept"
_OF_MACHINES = re.compile(
    r"boot\.host_shutdown_timeout|limits\.memory\.hugepages|raw\.(?:idmap|qemu.*)"
)
"""Low-level keys of virtual machines."""

_LOW_LEVEL_KEYS = (
    *("boot.host_shutdown_timeout", "linux.kernel_modules", "raw.apparmor", "raw.lxc"),
    *("raw.seccomp", "security.devlxd.images", "security.guestapi.images"),
    *("security.idmap.base", "security.idmap.size"),
)
_DEVICES = {
    "unix-char": "Unix character devices",
    "unix-block": "Unix block devices",
    "unix-hotplug": "Unix hotplug devices",
    "infiniband": "InfiniBand devices",
    "gpu": "GPUs",
    "usb": "USB devices",
    "pci": "PCI devices",
    "proxy": "proxies",
}
"""Types of devices that are forbidden unless a key named like them allows them."""

Config = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A thing that a project forbids."""

    what: str  # for people
    key: str  # of the project, with the value that allows it
    value: str = _ALLOW


def is_restricted(project: Config) -> bool:
    return is_set(project, "restricted")


def forbids_snapshots(project: Config) -> bool:
    return is_restricted(project) and project.get(SNAPSHOTS, _BLOCK) == _BLOCK


def forbidden(
    project: Config, config: Config, devices: Mapping[str, Json], subtype: str = CONTAINER
) -> list[Forbidden]:
    """Return what the project forbids of an instance.

    config, devices: of the instance, with those of its profiles.
    """
    if not is_restricted(project):
        return []
    of_config = _of_machine if subtype == MACHINE else _of_container
    return [*of_config(project, config), *_of_devices(project, devices)]


def _of_machine(project: Config, config: Config) -> Iterator[Forbidden]:
    key = LOW_LEVEL[MACHINE]
    if project.get(key) != _ALLOW:
        yield from (Forbidden(own, key) for own in config if _OF_MACHINES.fullmatch(own))


def _of_container(project: Config, config: Config) -> Iterator[Forbidden]:
    low_level = LOW_LEVEL[CONTAINER]
    if project.get(low_level) != _ALLOW:
        yield from (Forbidden(key, low_level) for key in config if _is_low_level(project, key))
    interception = "restricted.containers.interception"
    if project.get(interception) != _ALLOW:
        keys = [key for key in _INTERCEPTIONS if is_set(config, key)]
        yield from (Forbidden(key, interception) for key in keys)
    nesting = "restricted.containers.nesting"
    if project.get(nesting, _BLOCK) == _BLOCK and is_set(config, "security.nesting"):
        yield Forbidden("security.nesting", nesting)
    privilege = "restricted.containers.privilege"
    if project.get(privilege) != _ALLOW and is_set(config, "security.privileged"):
        yield Forbidden("security.privileged", privilege)
    isolated = "security.idmap.isolated"
    if project.get(privilege) == "isolated" and not is_set(config, isolated, "true"):
        yield Forbidden(f"{isolated}=false", privilege, "unprivileged")


def _is_low_level(project: Config, key: str) -> bool:
    if key == "raw.idmap":  # LXD compares it with these ranges
        return not {"restricted.idmap.uid", "restricted.idmap.gid"} & project.keys()
    is_interception = key.startswith(_INTERCEPT) and key not in _INTERCEPTIONS
    return is_interception or key in _LOW_LEVEL_KEYS


def _of_devices(project: Config, devices: Mapping[str, Json]) -> Iterator[Forbidden]:
    special: Mapping[str, Callable[[Config, str, Json], Forbidden | None]] = {
        "nic": _nic,
        "disk": _disk,
    }
    for name, device in devices.items():
        kind = device["type"]
        key = f"restricted.devices.{kind}"
        if kind in _DEVICES and project.get(key) != _ALLOW:
            yield Forbidden(f"{_DEVICES[kind]} ({name})", key)
        elif kind in special and (found := special[kind](project, name, device)):
            yield found


def _nic(project: Config, name: str, device: Json) -> Forbidden | None:
    key, access = "restricted.devices.nic", "restricted.networks.access"
    rule = project.get(key, _MANAGED)
    network = device.get("network") or device.get("parent")
    if rule == _BLOCK:
        return Forbidden(
            f"network cards ({name})", key, _MANAGED if device.get("network") else _ALLOW
        )
    if rule == _MANAGED and not device.get("network"):
        return Forbidden(f"network cards of networks that LXD does not manage ({name})", key)
    allowed = project.get(access, "")
    if network and allowed and network not in map(str.strip, allowed.split(",")):
        return Forbidden(f"network {network} ({name})", access, f"{allowed},{network}")
    return None


def _disk(project: Config, name: str, device: Json) -> Forbidden | None:
    key, paths = "restricted.devices.disk", "restricted.devices.disk.paths"
    rule = project.get(key, _MANAGED)
    if device.get("path") == "/" and device.get("pool"):
        return None
    if rule == _BLOCK:
        return Forbidden(f"disks ({name})", key, _MANAGED if device.get("pool") else _ALLOW)
    if device.get("pool"):
        return None
    if rule == _MANAGED:
        return Forbidden(f"disks that are no volumes of a pool ({name})", key)
    allowed, source = project.get(paths, ""), PurePath(device["source"])
    if allowed and not any(source.is_relative_to(path) for path in allowed.split(",")):
        return Forbidden(f"path {source} ({name})", paths, f"{allowed},{source}")
    return None
