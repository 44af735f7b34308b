"""What a restored instance is configured as: as it was, but for what this host lacks. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

OF_INSTANCES = ("architecture", "config", "description", "devices", "ephemeral", "profiles")
"""What makes an instance what it is, beside its bytes."""

TRUE = ("true", "1", "yes", "on")
"""What LXD takes for yes."""

_OF_A_RUN = re.compile(
    r"volatile\.(?:idmap\..*|last_state\.(?:power|ready)|apply_.*|.*\.host_name)"
)
"""What LXD works out anew. Not volatile.last_state.idmap, which says whose the files are."""

_IDENTITY = re.compile(r"volatile\.(?:uuid.*|cloud-init\.instance-id|.*\.hwaddr)")
"""What no two instances may share."""

_OF_ITS_NAME = re.compile(r"volatile\.(?:cloud-init\.instance-id|apply_template|.*\.hwaddr)")
"""What an instance has to give away with its name."""

_OF_ANY_PROJECT = re.compile(
    r"volatile\.(?:apply_template|base_image|last_state\.power|.*\.(?:apply_quota|hwaddr))"
)
"""What everybody may set of an instance, as LXD's checkRestrictionsOnVolatileConfig has it."""

_NONE = {"type": "none"}
"""A device instead of one that a profile has."""

_ADDRESSES = ("hwaddr", "ipv4.address", "ipv6.address")
_OWN = re.compile(r"volatile\.idmap\..*")


@dataclass(frozen=True, slots=True)
class Here:
    """What there is where the instance shall be. profiles: whole; volumes: custom ones, as pool
    and name; paths: of those that devices name."""

    pool: str
    profiles: Mapping[str, Json]
    networks: frozenset[str]
    volumes: frozenset[tuple[str, str]]
    paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class Missing:
    """What an instance needs and this host lacks. what: for people; profile, device: its name."""

    what: str
    profile: str | None = None
    device: str | None = None


def given_away(found: Json) -> dict[str, dict[str, Any]]:
    """What another instance cannot have meanwhile, of the configuration of one: keys and NICs."""
    keys = {key: one for key, one in found["config"].items() if _OF_ITS_NAME.fullmatch(key)}
    nics = {name: one for name, one in found["devices"].items() if one["type"] == "nic"}
    return {"config": keys, "devices": nics}


def without(found: Json, given: Json) -> dict[str, Any]:
    return {**found, **{part: _less(found[part], given[part]) for part in given}}


def _less(found: Json, given: Json) -> dict[str, Any]:
    return {name: one for name, one in found.items() if name not in given}


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
    """The devices, or the config, of an instance with those of its profiles, of which profiles
    has some."""
    known = (profiles[name] for name in configuration["profiles"] if name in profiles)
    found: dict[str, Any] = {}
    for one in (*known, configuration):
        found.update(one[part])
    return found


def host_path(device: Json) -> str | None:
    """The path of the host that a device cannot do without."""
    source = str(device.get("source", ""))
    is_local = device["type"] == "disk" and "pool" not in device and source.startswith("/")
    is_required = (device.get("required") or "true").lower() in TRUE
    is_optional = device.get("optional", "").lower() in TRUE
    return source if is_local and is_required and not is_optional else None


def restored(
    stored: Json, expanded: Json, left_out: Sequence[Missing], here: Here, in_place: bool
) -> dict[str, Any]:
    """stored: the configuration in the manifest; expanded: its devices with those of profiles;
    in_place: nobody else has what tells the instance from others."""
    profiles = {one.profile for one in left_out}
    devices = {one.device for one in left_out}
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


def fixed_addresses(device: Json) -> dict[str, str]:
    """Of a NIC: those that somebody gave it."""
    if device["type"] != "nic":
        return {}
    return {key: device[key] for key in _ADDRESSES if device.get(key, "none") != "none"}


def low_level(configuration: Json) -> list[str]:
    """The keys that LXD lets nobody set of an instance in a project that has limits; it begins
    with an empty idmap itself."""
    return [
        key
        for key, value in configuration["config"].items()
        if key.startswith("volatile.")
        and not _OF_ANY_PROJECT.fullmatch(key)
        and (key, value) != ("volatile.last_state.idmap", "[]")
    ]


def with_own(configuration: Json, own: Json) -> dict[str, Any]:
    """The configuration with what LXD gave the new instance, which nobody may change."""
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
    """The root disk in the target's pool, spelt out where the profiles name another one."""
    name, found = _root_of(merged("devices", kept, here.profiles))
    if found.get("pool") == here.pool:
        return {}
    name_before, before = _root_of(expanded)
    return {name or name_before: {**before, "pool": here.pool}}


def _root_of(devices: Mapping[str, Json]) -> tuple[str, Json]:
    """Its name and what it is; nothing of either where there is none."""
    roots = (
        (name, device)
        for name, device in devices.items()
        if device.get("type") == "disk" and device.get("path") == "/"
    )
    return next(roots, ("", {}))
