"""Checks, creates, configures and finishes an instance that is being restored."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Wanted
from three_backup.sources.lxd import client, names, points, project
from three_backup.sources.lxd.failures import NotFoundError, SizeError
from three_backup.sources.lxd.instance_configuration import (
    OF_INSTANCES,
    Here,
    fixed_addresses,
    given_away,
    host_path,
    low_level,
    merged,
    missing,
    resized,
    restored,
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


class Container:
    """An instance that is being restored.

    facts: of the manifest; without_devices: leave out what this host lacks.
    """

    is_filesystem = True

    def __init__(self, wanted: Wanted, facts: Mapping[str, Any], *, without_devices: bool) -> None:
        self._target = wanted.target
        self._facts = facts
        self._without_devices = without_devices
        self._in_place = names.url(wanted.target) == names.url(wanted.object)
        self._configuration: dict[str, Any] = {}
        self._project: Config = {}
        self._profiles: Mapping[str, Any] = {}
        self._limits: dict[str, str] = {}
        self._size: int | None = None  # the size it got where its own was too small

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
                "lxd.missing",
                f"{self._target}: it needs what is not here: "
                f"{', '.join(lack.what for lack in lacking)}",
                "create it, volumes by tb-restore; or leave it out with --without-devices",
            )
        self._configuration = restored(
            stored, self._facts["expanded_devices"], lacking, here, in_place=self._in_place
        )
        self._profiles = here.profiles
        config = merged("config", self._configuration, here.profiles)
        self._limits = project.limits(self._target, self._project, config)
        yield from (f"it is without {lack.what}, which is not here" for lack in lacking)
        if not self._in_place:
            yield from _addresses_left_out(stored["devices"])

    def check_allowed(self) -> None:
        """Raise BackupError if the project forbids the instance's configuration."""
        project.check_low_level(self._target, self._project, low_level(self._configuration))

    def check_replaceable(self) -> None:
        found = client.get(names.url(self._target))
        project.check_low_level(self._target, self._project, low_level(given_away(found)))
        if found["status"] != _STOPPED:
            raise BackupError(
                "lxd.running",
                f"{self._target}: it is running, and would be replaced",
                f"stop it first: lxc stop {self._target.level3} --project {self._target.level2}",
            )

    def part(self) -> None:
        """Store in the instance to be replaced what it gives away once it is put aside.

        take_back() finds it there, even after a restore that was killed.
        """
        found = self._found(self._target)
        client.configure(self._target, _keeping(found, given_away(found)))

    def give_away(self, aside: ObjectId) -> None:
        """Strip the instance put aside of addresses: LXD lets no two instances share one."""
        found = self._found(aside)
        client.configure(aside, without(found, given_away(found)))

    def take_back(self) -> None:
        """Give the instance back what it gave away, once it has its name again."""
        found = self._found(self._target)
        kept = json.loads(found["config"].pop(_KEPT, "null")) or given_away(found)
        rest = without(found, given_away(found))
        whole = {part: {**rest[part], **kept[part]} for part in kept}
        client.configure(self._target, {**rest, **whole})
        if _CLOUD_INIT in kept["config"]:  # LXD gave it another one with the NICs
            client.set_keys(self._target, {_CLOUD_INIT: kept["config"][_CLOUD_INIT]})

    def _found(self, instance: ObjectId) -> dict[str, Any]:
        found = client.get(names.url(instance), str(self._target))
        return {name: found[name] for name in OF_INSTANCES}

    def create(self, unfinished: ObjectId) -> None:
        """Create an instance that shares nothing with another, and does not start with the host.

        LXD refuses at this point what the limits of the project forbid.
        """
        body = {
            "name": unfinished.level3,
            "source": {"type": "none"},
            "architecture": self._configuration["architecture"],
            "config": {MARK: str(self._target), **self._limits},
            "devices": {"root": {"type": "disk", "path": "/", "pool": unfinished.level1}},
            "profiles": [],
        }
        path = names.in_project(names.collection(unfinished), unfinished.level2)
        client.send("POST", path, body, str(self._target))

    def configure(self, unfinished: ObjectId) -> None:
        own = client.get(names.url(unfinished), str(self._target))["config"]
        try:
            client.configure(unfinished, with_own(self._configuration, own))
        except SizeError:
            self._size = points.sufficient_size(unfinished)
            whole = resized(self._configuration, self._profiles, str(self._size))
            client.configure(unfinished, with_own(whole, own))

    def finish(self) -> Iterator[str]:
        """Tell LXD that the instance is not new; yield notes on what is not as it was.

        LXD would otherwise write templates into it and have cloud-init run again.
        """
        if self._size is not None:
            yield points.SIZE_CHANGED.format(self._size)
        known = self._configuration["config"].get(_CLOUD_INIT)
        try:
            client.set_keys(
                self._target, {_TEMPLATES: "", **({_CLOUD_INIT: known} if known else {})}
            )
        except BackupError as error:
            yield f"cloud-init and templates will take it for a new one: {error.message}"


def _addresses_left_out(devices: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, device in devices.items():
        if left := fixed_addresses(device):
            yield (
                f"{name} is without {' and '.join(left)} ({', '.join(left.values())}), since it is"
                " another instance; lxc config device set gives it one"
            )


def _keeping(found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {**found, "config": {**found["config"], _KEPT: json.dumps(given)}}


def _here(target: ObjectId, stored: Mapping[str, Any]) -> Here:
    """Return what exists for the target; asks LXD only for what the devices need."""
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
        frozenset((pool, name) for pool in pools for name in _volumes(pool, target.level2)),
        frozenset(path for spec in devices if (path := host_path(spec)) and os.path.lexists(path)),
    )


def _volumes(pool: str, project: str) -> frozenset[str]:
    try:
        return client.names_beside(ObjectId(names.TYPE, names.VOLUME, pool, project, ""))
    except NotFoundError:
        return frozenset()
