"""Reads what exists where an instance shall be: asks only for what its devices need."""

import errno
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from three_backup.model.objects import ObjectId
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client, client_of
from three_backup.sources.lxd.daemon.failures import NotFoundError
from three_backup.sources.lxd.targets.devices import (
    Here,
    acls_of,
    host_path,
    is_exclusive,
    is_set,
    listening_address,
    needs,
)
from three_backup.sources.lxd.targets.instance_configuration import merged

_INTERFACES = "/sys/class/net"
_RESOURCES = "/1.0/resources"
_LISTS = {"gpu": "cards", "usb": "devices", "pci": "devices"}
"""The list in each part of the daemon's resources that matters."""


def here(target: ObjectId, stored: Mapping[str, Any]) -> Here:
    """Return what exists for the target. stored: the configuration of the instance."""
    client = client_of(target.type)
    listed = client.get(names.in_project("/1.0/profiles", target.level2, recursion="1"))
    profiles = {profile["name"]: profile for profile in listed}
    devices = list(merged("devices", stored, profiles).values())
    needed = {listed for device in devices for listed in needs(device)}
    pools = {device["pool"] for device in devices if device.get("source") and device.get("pool")}
    paths, addresses = map(host_path, devices), map(listening_address, devices)
    return Here(
        target.level1,
        profiles,
        _networks(client, target.level2) if "networks" in needed else frozenset(),
        _interfaces(client, devices) if "interfaces" in needed else frozenset(),
        _acls(client, devices, target.level2) if "acls" in needed else frozenset(),
        frozenset((pool, name) for pool in pools for name in _volumes(target, pool)),
        frozenset(path for path in paths if path and os.path.lexists(path)),
        frozenset(address for address in addresses if address and _can_listen(address)),
        _resources(client) if "resources" in needed else {},
    )


def taken(target: ObjectId, devices: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return who has the block volumes that other instances have already, by names of devices."""
    client, found = client_of(target.type), {}
    for name, device in devices.items():
        if is_exclusive(device):
            volume = replace(
                target, subtype=names.VOLUME, level1=device["pool"], level3=device["source"]
            )
            with suppress(NotFoundError):
                there = client.get(names.url(volume), str(target))
                if there["used_by"] and not is_set(there["config"], "security.shared"):
                    found[name] = ", ".join(map(names.last_of, there["used_by"]))
    return found


def _networks(client: Client, project: str) -> frozenset[str]:
    listed = client.get(names.in_project("/1.0/networks", project, recursion="1"))
    return frozenset(network["name"] for network in listed if network["managed"])


def _interfaces(client: Client, devices: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the interfaces of the host. LXD lists them in its own project, without veth pairs."""
    listed = client.get(names.in_project("/1.0/networks", names.DEFAULT))
    parents = (str(device["parent"]) for device in devices if device.get("parent"))
    seen = (name for name in parents if os.path.lexists(f"{_INTERFACES}/{name}"))
    return frozenset((*map(names.last_of, listed), *seen))


def _acls(client: Client, devices: Iterable[Mapping[str, Any]], project: str) -> frozenset[str]:
    listed = client.get(names.in_project("/1.0/network-acls", project))
    wanted = {acl for device in devices for acl in acls_of(device)}
    return frozenset(map(names.last_of, listed)) & wanted


def _volumes(target: ObjectId, pool: str) -> frozenset[str]:
    volumes = replace(target, subtype=names.VOLUME, level1=pool, level3="")
    try:
        return client_of(target.type).names_beside(volumes)
    except NotFoundError:
        return frozenset()


def _can_listen(address: str) -> bool:
    """Return whether this host has the address, or may use it without having it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def _resources(client: Client) -> dict[str, list[Mapping[str, Any]]]:
    found = client.get(_RESOURCES)
    return {part: found.get(part, {}).get(listed) or [] for part, listed in _LISTS.items()}
