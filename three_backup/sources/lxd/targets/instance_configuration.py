"""Builds the configuration of a restored instance: the old one without what is missing. Pure."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from three_backup.sources.lxd.targets import root_disk
from three_backup.sources.lxd.targets.devices import (
    NONE,
    Here,
    Json,
    fixed_addresses,
    is_exclusive,
    lacks,
    stranded_proxies,
)

OF_INSTANCES = ("architecture", "config", "description", "devices", "ephemeral", "profiles")
"""Fields of an instance that make up its configuration; snapshots keep them."""

_OF_A_RUN = re.compile(
    r"volatile\.(?:idmap\..*|last_state\.(?:power|ready)|apply_.*|.*\.host_name)"
)
"""Keys that LXD works out anew. Not volatile.last_state.idmap, which says who owns the files."""

_IDENTITY = re.compile(r"volatile\.(?:uuid.*|cloud-init\.instance-id|.*\.hwaddr|vsock_id)")
"""Keys that no two instances may share."""

_OF_ITS_NAME = re.compile(
    r"volatile\.(?:cloud-init\.instance-id|apply_template|.*\.hwaddr)"
    r"|boot\.autostart|security\.protection\.delete"
)
"""Keys that an instance has to give away with its name: it shall go, and not start meanwhile."""

_OF_ANY_PROJECT = re.compile(
    r"volatile\.(?:apply_template|base_image|last_state\.power|.*\.(?:apply_quota|hwaddr))"
)
"""Keys that may be set in any project, as LXD's checkRestrictionsOnVolatileConfig has it."""

_OWN = re.compile(r"volatile\.idmap\..*")


@dataclass(frozen=True, slots=True)
class Missing:
    """A thing that an instance needs and this host lacks."""

    what: str  # for people
    profile: str | None = None  # the name of the missing profile
    device: str | None = None  # the name of the device that needs the thing


def given_away(found: Json) -> dict[str, dict[str, Any]]:
    """Return the keys, NICs and block volumes that no other instance can have meanwhile."""
    keys = {key: value for key, value in found["config"].items() if _OF_ITS_NAME.fullmatch(key)}
    devices = {
        name: device
        for name, device in found["devices"].items()
        if device["type"] == "nic" or is_exclusive(device)
    }
    return {"config": keys, "devices": devices}


def without(found: Json, given: Json) -> dict[str, Any]:
    return {**found, **{part: _less(found[part], given[part]) for part in given}}


def _less(found: Json, given: Container[str]) -> dict[str, Any]:
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


def restored(
    facts: Json, left_out: Sequence[Missing], here: Here, *, in_place: bool
) -> dict[str, Any]:
    """Return the configuration for the restored instance.

    facts: of the manifest; in_place: no other instance has its identity and addresses, so that it
    keeps them.
    """
    stored = facts["configuration"]
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
    kept["devices"].update({name: NONE for name in devices if name in of_profiles})
    root = root_disk.restored(kept, facts, of_profiles, here.pool)
    return {**kept, "devices": {**kept["devices"], **root}}


def without_stranded(
    configuration: Json, facts: Json, here: Here
) -> tuple[dict[str, Any], list[str]]:
    """Leave out the proxies whose address was left out with a NIC; return their names too."""
    stranded = stranded_proxies(merged("devices", configuration, here.profiles))
    before = stranded_proxies(facts["expanded_devices"])
    names = [name for name in stranded if name not in before]
    of_profiles = merged("devices", {**configuration, "devices": {}}, here.profiles)
    own = {name: spec for name, spec in configuration["devices"].items() if name not in names}
    masked = {name: NONE for name in names if name in of_profiles}
    return {**configuration, "devices": {**own, **masked}}, names


def rehearsal(configuration: Json, own: Json, *, in_place: bool) -> dict[str, Any]:
    """Return what of a configuration LXD can judge before the instance has its name.

    own: the configuration of the new instance, which it keeps; in_place: the instance that is
    replaced still has the addresses and block volumes.
    """
    config, devices = configuration["config"], configuration["devices"]
    later = [key for key in config if key.startswith("volatile.") or _OF_ITS_NAME.fullmatch(key)]
    held = [
        name
        for name, spec in devices.items()
        if in_place and (fixed_addresses(spec) or is_exclusive(spec))
    ]
    return {
        **configuration,
        "config": {**_less(config, later), **own["config"]},
        "devices": {**_less(devices, held), **own["devices"]},
    }


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
        if what := lacks(device, here):
            yield Missing(what, device=name)
