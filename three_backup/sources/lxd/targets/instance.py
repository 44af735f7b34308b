"""Checks, creates, configures and finishes an instance that is being restored."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Wanted
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import client_of
from three_backup.sources.lxd.daemon.daemons import DAEMONS
from three_backup.sources.lxd.daemon.failures import SizeError, unknown_key
from three_backup.sources.lxd.datasets import points
from three_backup.sources.lxd.targets import project, root_disk
from three_backup.sources.lxd.targets.devices import fixed_addresses, is_set
from three_backup.sources.lxd.targets.here import here as exists_here
from three_backup.sources.lxd.targets.here import taken
from three_backup.sources.lxd.targets.instance_configuration import (
    OF_INSTANCES,
    given_away,
    low_level,
    merged,
    missing,
    rehearsal,
    restored,
    with_own,
    without,
    without_stranded,
)
from three_backup.sources.lxd.targets.restrictions import Config, forbidden

MARK = "user.three_backup.restoring"
"""The key of the configuration that says what an unfinished instance is to become."""

_CLOUD_INIT = "volatile.cloud-init.instance-id"
_TEMPLATES = "volatile.apply_template"
_KEPT = "user.three_backup.put_aside"
"""The key where an instance keeps what it gives away while it is put aside, as JSON."""

_PROTECTED = "security.protection.delete"
_STOPPED = "Stopped"


def unprotect(object_id: ObjectId) -> None:
    """Let an instance be deleted that its configuration or a profile protects from that."""
    if object_id.subtype == names.VOLUME:
        return
    if is_set(client_of(object_id.type).get(names.url(object_id))["expanded_config"], _PROTECTED):
        client_of(object_id.type).set_keys(object_id, {_PROTECTED: "false"})


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
        self._config: dict[str, str] = {}  # with that of profiles
        self._devices: dict[str, Any] = {}  # with those of profiles
        self._project: Config = {}
        self._limits: dict[str, str] = {}
        self._unknown: list[str] = []
        self._size: int | None = None  # the size it got where its own was too small
        self._is_judged = False

    def check(self) -> Iterator[str]:
        """Check that the instance can be restored; yield notes on what is left out.

        Raises BackupError if something is missing, or for a name that no instance can have.
        """
        names.check(self._target)
        stored = self._facts["configuration"]
        self._project = project.config_of(self._target)
        here = exists_here(self._target, stored)
        lacking = missing(stored, here)
        if lacking and not self._without_devices:
            raise BackupError(
                f"{self._target.type}.missing",
                f"{self._target}: it needs what is not here: "
                f"{', '.join(lack.what for lack in lacking)}",
                "create it, volumes by tb-restore; or leave it out with --without-devices",
            )
        kept = restored(self._facts, lacking, here, in_place=self._in_place)
        others = {} if self._in_place else taken(self._target, kept["devices"])
        kept = without(kept, {"devices": others})
        self._configuration, stranded = without_stranded(kept, self._facts, here)
        self._config = merged("config", self._configuration, here.profiles)
        self._devices = merged("devices", self._configuration, here.profiles)
        self._limits = project.limits(self._target, self._project, self._config)
        if project.has_limits(self._project):
            used = project.usage(project.instances_of(self._target))
            project.check_room(self._target, self._project, self._config, used)
        yield from (f"it is without {lack.what}, which is not here" for lack in lacking)
        yield from (f"it is without {name}: {who} has its volume" for name, who in others.items())
        if not self._in_place:
            yield from _addresses_left_out(stored["devices"])
        yield from (f"it is without {name}, which led to an address left out" for name in stranded)
        if changed := root_disk.differences(self._facts, self._devices):
            yield f"its root disk follows a profile that was changed: {', '.join(changed)}"

    def check_allowed(self) -> None:
        """Raise BackupError if the project forbids the instance's configuration."""
        keys = project.low_level_forbidden(
            self._project, low_level(self._configuration), self._target.subtype
        )
        others = forbidden(self._project, self._config, self._devices, self._target.subtype)
        project.check_allowed(self._target, self._project, (*keys, *others))
        self._is_judged = True

    def check_replaceable(self) -> None:
        found = self._client.get(names.url(self._target))
        keys = project.low_level_forbidden(
            self._project, low_level(given_away(found)), self._target.subtype
        )
        project.check_allowed(self._target, self._project, keys)
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
        """Give the instance back what it gave away, if it has its name again and lacks that."""
        found = self._found(self._target)
        if _KEPT not in found["config"]:
            return
        kept = json.loads(found["config"].pop(_KEPT))
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

        LXD refuses at this point what it would not have in the end.
        """
        body = {
            "name": unfinished.level3,
            "type": names.TYPES[self._target.subtype],
            "source": {"type": "none"},
            "architecture": self._configuration["architecture"],
            "config": {MARK: str(self._target), **self._limits},
            "devices": self._root_disk(unfinished.level1),
            "profiles": [],
        }
        path = names.in_project(names.collection(unfinished), unfinished.level2)
        self._client.send("POST", path, body, str(self._target))
        if self._is_judged:
            own = self._found(unfinished)
            self._set(unfinished, rehearsal(self._configuration, own, in_place=self._in_place))

    def _root_disk(self, pool: str) -> dict[str, Any]:
        """Return the root disk to be made; that of a machine is a zvol, which cannot shrink."""
        _, wanted = root_disk.root_of(self._devices)
        size = {key: wanted[key] for key in ("size",) if key in wanted and self._is_machine}
        made = root_disk.unsized(self._devices, pool)
        return {name: {**device, **size} for name, device in made.items()}

    @property
    def _is_machine(self) -> bool:
        return self._target.subtype == names.MACHINE

    def configure(self, unfinished: ObjectId) -> None:
        own = self._client.get(names.url(unfinished), str(self._target))["config"]
        self._set(unfinished, without(with_own(self._configuration, own), self._left_out()))

    def _set(self, unfinished: ObjectId, configuration: dict[str, Any]) -> None:
        """Configure the instance, without what only the daemon that it came from knows."""
        while True:
            try:
                self._client.configure(unfinished, configuration)
                return
            except SizeError:
                if self._size is not None:
                    raise
                self._size = points.sufficient_size(unfinished)
                resized = root_disk.resized(self._devices, str(self._size))
                devices = {**configuration["devices"], **resized}
                configuration = {**configuration, "devices": devices}
            except BackupError as error:
                key = unknown_key(error.message)
                if self._came_from == self._client.daemon or key not in configuration["config"]:
                    raise
                self._unknown.append(key)
                configuration = without(configuration, self._left_out())

    def _left_out(self) -> dict[str, list[str]]:
        return {"config": self._unknown}

    def finish(self) -> Iterator[str]:
        """Tell the daemon that the instance is not new; yield notes.

        It would otherwise write templates into it and have cloud-init run again.
        """
        daemon = self._client.daemon
        if self._size is not None:
            yield points.SIZE_CHANGED.format(self._size)
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
