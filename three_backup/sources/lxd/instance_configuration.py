"""Builds the configuration of a restored instance: the old one without what is missing. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

OF_INSTANCES = ("architecture", "config", "description", "devices", "ephemeral", "profiles")
"""Fields of an instance that make up its configuration; snapshots keep them."""

TRUE = ("true", "1", "yes", "on")
"""Values that LXD takes for yes."""

_OF_A_RUN = re.compile(
    r"volatile\.(?:idmap\..*|last_state\.(?:power|ready)|apply_.*|.*\.host_name)"
)
"""Keys that LXD works out anew. Not volatile.last_state.idmap, which says who owns the files."""

_IDENTITY = re.compile(r"volatile\.(?:uuid.*|cloud-init\.instance-id|.*\.hwaddr)")
"""Keys that no two instances may share."""

_OF_ITS_NAME = re.compile(r"volatile\.(?:cloud-init\.instance-id|apply_template|.*\.hwaddr)")
"""Keys that an instance has to give away with its name."""

_OF_ANY_PROJECT = re.compile(
    r"volatile\.(?:apply_template|base_image|last_state\.power|.*\.(?:apply_quota|hwaddr))"
)
"""Keys that may be set in any project, as LXD's checkRestrictionsOnVolatileConfig has it."""

_NONE = {"type": "none"}
"""A device that masks a profile's device of the same name."""

_ADDRESSES = ("hwaddr", "ipv4.address", "ipv6.address")
_OWN = re.compile(r"volatile\.idmap\..*")


@dataclass(frozen=True, slots=True)
class Here:
    """What exists where the instance shall be."""

    pool: str  # the target's
    profiles: Mapping[str, Json]  # whole, by name
    networks: frozenset[str]
    volumes: frozenset[tuple[str, str]]  # custom ones, as pool and name
    paths: frozenset[str]  # those paths of the host that devices name and that exist


@dataclass(frozen=True, slots=True)
class Missing:
    """A thing that an instance needs and this host lacks."""

    what: str  # for people
    profile: str | None = None  # the name of the missing profile
    device: str | None = None  # the name of the device that needs the thing


def given_away(found: Json) -> dict[str, dict[str, Any]]:
    """Return the keys and NICs that no other instance can have while this one has them."""
    keys = {key: value for key, value in found["config"].items() if _OF_ITS_NAME.fullmatch(key)}
    nics = {name: device for name, device in found["devices"].items() if device["type"] == "nic"}
    return {"config": keys, "devices": nics}


def without(found: Json, given: Json) -> dict[str, Any]:
    return {**found, **{part: _less(found[part], given[part]) for part in given}}


def _less(found: Json, given: Json) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in given}


def missing(configuration: Json, here: Here) -> list[Missing]:
    return [
        *(
            Missing(f"profile {name}", profile=name)
            for name in configuration["profiles"]
            if name not in here.profiles
        ),
        *_missing_devices(merged("devices", configuration, here.profiles), here),
    ]


def merged(part: str, configuration: Json, profiles: Mapping[str, Json]) -> dict[str, Any]:
    """Return the devices, or the config, of an instance merged with those of its profiles.

    part: `devices` or `config`; profiles: by name, may lack some.
    """
    known = (profiles[name] for name in configuration["profiles"] if name in profiles)
    found: dict[str, Any] = {}
    for layer in (*known, configuration):
        found.update(layer[part])
    return found


def host_path(device: Json) -> str | None:
    """Return the path of the host that a device cannot do without; None if it needs none."""
    source = str(device.get("source", ""))
    is_local = device["type"] == "disk" and "pool" not in device and source.startswith("/")
    is_required = (device.get("required") or "true").lower() in TRUE
    is_optional = device.get("optional", "").lower() in TRUE
    return source if is_local and is_required and not is_optional else None


def restored(
    stored: Json, expanded: Json, left_out: Sequence[Missing], here: Here, *, in_place: bool
) -> dict[str, Any]:
    """Return the configuration for the restored instance.

    stored: the configuration in the manifest; expanded: its devices with those of profiles;
    in_place: no other instance has its identity and addresses, so that it keeps them.
    """
    profiles = {lacking.profile for lacking in left_out}
    devices = {lacking.device for lacking in left_out}
    kept = {
        **stored,
        "config": {
            key: value
            for key, value in stored["config"].items()
            if not _OF_A_RUN.fullmatch(key) and (in_place or not _IDENTITY.fullmatch(key))
        },
        "profiles": [name for name in stored["profiles"] if name not in profiles],
        "devices": {
            name: device if in_place else _less(device, fixed_addresses(device))
            for name, device in stored["devices"].items()
            if name not in devices
        },
    }
    of_profiles = merged("devices", {**kept, "devices": {}}, here.profiles)
    kept["devices"].update({name: _NONE for name in devices if name in of_profiles})
    return {**kept, "devices": {**kept["devices"], **_root(kept, expanded, here)}}


def resized(configuration: Json, profiles: Mapping[str, Json], size: str) -> dict[str, Any]:
    """Return the configuration with a root disk of this size."""
    name, root = _root_of(merged("devices", configuration, profiles))
    return {**configuration, "devices": {**configuration["devices"], name: {**root, "size": size}}}


def fixed_addresses(device: Json) -> dict[str, str]:
    """Return the addresses that somebody gave a NIC; none for other devices."""
    if device["type"] != "nic":
        return {}
    return {key: device[key] for key in _ADDRESSES if device.get(key, "none") != "none"}


def low_level(configuration: Json) -> list[str]:
    """Return the keys that LXD lets nobody set on an instance in a project that has limits.

    An empty idmap is allowed: LXD itself begins with one.
    """
    return [
        key
        for key, value in configuration["config"].items()
        if key.startswith("volatile.")
        and not _OF_ANY_PROJECT.fullmatch(key)
        and (key, value) != ("volatile.last_state.idmap", "[]")
    ]


def with_own(configuration: Json, own: Json) -> dict[str, Any]:
    """Return the configuration with the keys of the new instance that only LXD may set."""
    given = {key: value for key, value in own.items() if _OWN.fullmatch(key)}
    return {**configuration, "config": {**configuration["config"], **given}}


def _missing_devices(devices: Mapping[str, Json], here: Here) -> Iterator[Missing]:
    for name, device in devices.items():
        network, volume = device.get("network"), (device.get("pool"), device.get("source"))
        if network and network not in here.networks:
            yield Missing(f"network {network}", device=name)
        elif all(volume) and volume not in here.volumes:
            yield Missing(f"volume {volume[1]} of pool {volume[0]}", device=name)
        elif (path := host_path(device)) and path not in here.paths:
            yield Missing(f"path {path} of the host", device=name)


def _root(kept: Json, expanded: Json, here: Here) -> dict[str, Json]:
    """Return a root disk in the target's pool; nothing if the root disk is there already."""
    name, found = _root_of(merged("devices", kept, here.profiles))
    if found.get("pool") == here.pool:
        return {}
    name_before, before = _root_of(expanded)
    return {name or name_before: {**before, "pool": here.pool}}


def _root_of(devices: Mapping[str, Json]) -> tuple[str, Json]:
    """Return name and device of the root disk, both empty if there is none."""
    roots = (
        (name, device)
        for name, device in devices.items()
        if device.get("type") == "disk" and device.get("path") == "/"
    )
    return next(roots, ("", {}))
