"""Checks, creates, configures and finishes an instance that is being restored."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Wanted
from three_backup.sources.lxd import names, project
from three_backup.sources.lxd.client import client_of
from three_backup.sources.lxd.daemons import DAEMONS
from three_backup.sources.lxd.failures import NotFoundError, unknown_key
from three_backup.sources.lxd.instance_configuration import (
    OF_INSTANCES,
    Here,
    fixed_addresses,
    given_away,
    host_path,
    low_level,
    merged,
    missing,
    restored,
    root_of,
    with_own,
    without,
)
from three_backup.sources.lxd.project import Config

MARK = "user.three_backup.restoring"
"""The key of the configuration that says what an unfinished instance is to become."""

_CLOUD_INIT = "volatile.cloud-init.instance-id"
_TEMPLATES = "volatile.apply_template"
_KEPT = "user.three_backup.put_aside"
"""The key where an instance keeps what it gives away while it is put aside, as JSON."""

_STOPPED = "Stopped"


class Instance:
    """A container or virtual machine that is being restored.

    facts: of the manifest; without_devices: leave out what this host lacks.
    """

    def __init__(self, wanted: Wanted, facts: Mapping[str, Any], *, without_devices: bool) -> None:
        self._target = wanted.target
        self._client = client_of(wanted.target.type)
        self._facts = facts
        self._without_devices = without_devices
        self._in_place = names.url(wanted.target) == names.url(wanted.object)
        self._came_from = DAEMONS[wanted.object.type]
        self._configuration: dict[str, Any] = {}
        self._project: Config = {}
        self._limits: dict[str, str] = {}
        self._root: Mapping[str, str] = {}
        self._unknown: list[str] = []

    def check(self) -> Iterator[str]:
        """Check that the instance can be restored; yield notes on what is left out.

        Raises BackupError if something is missing, or for a name that no instance can have.
        """
        names.check(self._target)
        stored = self._facts["configuration"]
        self._project = project.config_of(self._target)
        here = _here(self._target, stored)
        lacking = missing(stored, here)
        if lacking and not self._without_devices:
            raise BackupError(
                f"{self._target.type}.missing",
                f"{self._target}: it needs what is not here: "
                f"{', '.join(lack.what for lack in lacking)}",
                "create it, volumes by tb-restore; or leave it out with --without-devices",
            )
        self._configuration = restored(
            stored, self._facts["expanded_devices"], lacking, here, in_place=self._in_place
        )
        config = merged("config", self._configuration, here.profiles)
        _, self._root = root_of(merged("devices", self._configuration, here.profiles))
        self._limits = project.limits(self._target, self._project, config)
        yield from (f"it is without {lack.what}, which is not here" for lack in lacking)
        if not self._in_place:
            yield from _addresses_left_out(stored["devices"])

    def check_allowed(self) -> None:
        """Raise BackupError if the project forbids the instance's configuration."""
        project.check_low_level(self._target, self._project, low_level(self._configuration))

    def check_replaceable(self) -> None:
        found = self._client.get(names.url(self._target))
        project.check_low_level(self._target, self._project, low_level(given_away(found)))
        if found["status"] != _STOPPED:
            raise BackupError(
                f"{self._target.type}.running",
                f"{self._target}: it is running, and would be replaced",
                f"stop it first: {self._client.daemon.client} stop {self._target.level3} "
                f"--project {self._target.level2}",
            )

    def part(self) -> None:
        """Store in the instance to be replaced what it gives away once it is put aside.

        take_back() finds it there, even after a restore that was killed.
        """
        found = self._found(self._target)
        self._client.configure(self._target, _keeping(found, given_away(found)))

    def give_away(self, aside: ObjectId) -> None:
        """Strip the instance put aside of addresses: LXD lets no two instances share one."""
        found = self._found(aside)
        self._client.configure(aside, without(found, given_away(found)))

    def take_back(self) -> None:
        """Give the instance back what it gave away, once it has its name again."""
        found = self._found(self._target)
        kept = json.loads(found["config"].pop(_KEPT, "null")) or given_away(found)
        rest = without(found, given_away(found))
        whole = {part: {**rest[part], **kept[part]} for part in kept}
        self._client.configure(self._target, {**rest, **whole})
        if _CLOUD_INIT in kept["config"]:  # LXD gave it another one with the NICs
            self._client.set_keys(self._target, {_CLOUD_INIT: kept["config"][_CLOUD_INIT]})

    def _found(self, instance: ObjectId) -> dict[str, Any]:
        found = self._client.get(names.url(instance), str(self._target))
        return {name: found[name] for name in OF_INSTANCES}

    def create(self, unfinished: ObjectId) -> None:
        """Create an instance that shares nothing with another, and does not start with the host.

        LXD refuses at this point what the limits of the project forbid.
        """
        root = {"type": "disk", "path": "/"}
        body = {
            "name": unfinished.level3,
            "type": names.TYPES[self._target.subtype],
            "source": {"type": "none"},
            "architecture": self._configuration["architecture"],
            "config": {MARK: str(self._target), **self._limits},
            "devices": {"root": {**self._size(), **root, "pool": unfinished.level1}},
            "profiles": [],
        }
        path = names.in_project(names.collection(unfinished), unfinished.level2)
        self._client.send("POST", path, body, str(self._target))

    def _size(self) -> dict[str, str]:
        """Return the size of the root disk where it is a zvol, which cannot shrink afterwards."""
        return (
            {"size": self._root["size"]}
            if self._target.subtype == names.MACHINE and "size" in self._root
            else {}
        )

    def configure(self, unfinished: ObjectId) -> None:
        """Configure the instance, without what only the daemon that it came from knows."""
        own = self._client.get(names.url(unfinished), str(self._target))["config"]
        configuration = with_own(self._configuration, own)
        while True:
            try:
                self._client.configure(unfinished, configuration)
                return
            except BackupError as error:
                key = unknown_key(error.message)
                if self._came_from == self._client.daemon or key not in configuration["config"]:
                    raise
                self._unknown.append(key)
                configuration = without(configuration, {"config": {key}})

    def finish(self) -> Iterator[str]:
        """Tell the daemon that the instance is not new; yield notes.

        It would otherwise write templates into it and have cloud-init run again.
        """
        daemon = self._client.daemon
        if self._unknown:
            yield f"it is without {', '.join(self._unknown)}, which {daemon.name} does not know"
        if self._in_place and self._came_from != daemon:
            yield f"it has the addresses of the one in {self._came_from.name}; start only one"
        known = self._configuration["config"].get(_CLOUD_INIT)
        try:
            self._client.set_keys(
                self._target, {_TEMPLATES: "", **({_CLOUD_INIT: known} if known else {})}
            )
        except BackupError as error:
            yield f"cloud-init and templates will take it for a new one: {error.message}"


def _addresses_left_out(devices: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, device in devices.items():
        if left := fixed_addresses(device):
            yield (
                f"{name} is without {' and '.join(left)} ({', '.join(left.values())}), since it is"
                " another instance; `config device set` gives it one"
            )


def _keeping(found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {**found, "config": {**found["config"], _KEPT: json.dumps(given)}}


def _here(target: ObjectId, stored: Mapping[str, Any]) -> Here:
    """Return what exists for the target; asks LXD only for what the devices need."""
    client = client_of(target.type)
    listed = client.get(names.in_project("/1.0/profiles", target.level2, recursion="1"))
    profiles = {profile["name"]: profile for profile in listed}
    devices = merged("devices", stored, profiles).values()
    networks = ()
    if any("network" in device for device in devices):
        networks = client.get(names.in_project("/1.0/networks", target.level2))
    pools = {device["pool"] for device in devices if device.get("source") and device.get("pool")}
    return Here(
        target.level1,
        profiles,
        frozenset(map(names.last_of, networks)),
        frozenset((pool, name) for pool in pools for name in _volumes(target, pool)),
        frozenset(path for spec in devices if (path := host_path(spec)) and os.path.lexists(path)),
    )


def _volumes(target: ObjectId, pool: str) -> frozenset[str]:
    volumes = replace(target, subtype=names.VOLUME, level1=pool, level3="")
    try:
        return client_of(target.type).names_beside(volumes)
    except NotFoundError:
        return frozenset()
