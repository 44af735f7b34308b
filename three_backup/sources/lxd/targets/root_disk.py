"""Works out the root disk of a restored instance: its own device, or one of a profile. Pure.

LXD sets a quota only where nothing but the size of a device changes, so the instance is made with
this very device, and only then gets the size.
"""

from collections.abc import Mapping
from typing import Any

from three_backup.sources.lxd.targets.devices import NONE, Json

_SIZES = ("size", "size.state")
_ROOT = "root"


def root_of(devices: Mapping[str, Json]) -> tuple[str, Json]:
    """Return name and device of the root disk, the device empty if there is none."""
    return next(((name, devices[name]) for name in _roots(devices)), (_ROOT, {}))


def unsized(devices: Mapping[str, Json], pool: str) -> dict[str, Json]:
    """Return the root disk without a quota, which would count what is received.

    devices: those of the restored instance and its profiles.
    """
    name, device = root_of(devices)
    return {name: {"type": "disk", "path": "/", **_without_sizes(device), "pool": pool}}


def restored(
    kept: Json, facts: Json, of_profiles: Mapping[str, Json], pool: str
) -> dict[str, Json]:
    """Return the devices that give the instance its root disk.

    They mask other root disks of profiles, since LXD allows only one. There are none where the
    root disk is that of a profile still.

    kept: the configuration of the instance so far; facts: of the manifest; of_profiles: the
    devices of its profiles here.
    """
    name, before = root_of(facts["expanded_devices"])
    there = _roots(of_profiles)
    is_own = name in facts["configuration"]["devices"]
    follows = not is_own and _giver(facts) in kept["profiles"] and len(there) == 1
    if follows and of_profiles[there[0]]["pool"] == pool:
        return {}
    masks = {other: NONE for other in there if other != name}
    return {**masks, name: {**before, "pool": pool}}


def resized(devices: Mapping[str, Json], size: str) -> dict[str, Json]:
    """Return the root disk with another size. devices: those of the instance and its profiles."""
    name, device = root_of(devices)
    return {name: {**device, "size": size}}


def differences(facts: Json, devices: Mapping[str, Json]) -> list[str]:
    """Return how the root disk differs from what it was, except for name and pool.

    A profile may have changed. devices: those of the restored instance and its profiles.
    """
    (_, before), (_, now) = root_of(facts["expanded_devices"]), root_of(devices)
    keys = sorted((before.keys() | now.keys()) - {"pool"})
    changed = [key for key in keys if before.get(key, "") != now.get(key, "")]
    return [f"{key} was {before.get(key, 'unset')}, is {now.get(key, 'unset')}" for key in changed]


def _giver(facts: Json) -> str | None:
    """Return the profile that the root disk was of: the last one that has it."""
    name, _ = root_of(facts["expanded_devices"])
    having = {given["name"] for given in facts["profiles"] if name in given["devices"]}
    named: list[str] = facts["configuration"]["profiles"]
    return next((profile for profile in reversed(named) if profile in having), None)


def _roots(devices: Mapping[str, Json]) -> list[str]:
    return [
        name
        for name, device in devices.items()
        if device.get("type") == "disk" and device.get("path") == "/" and not device.get("source")
    ]


def _without_sizes(device: Json) -> dict[str, Any]:
    return {key: value for key, value in device.items() if key not in _SIZES}
