"""Checks that LXD would let a project have what is restored; LXD itself refuses too late."""

import re
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote as quoted
from urllib.parse import quote

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import client_of
from three_backup.sources.lxd.daemon.failures import NotFoundError
from three_backup.sources.lxd.targets.devices import Json, is_set
from three_backup.sources.lxd.targets.restrictions import (
    LOW_LEVEL,
    Config,
    Forbidden,
    is_restricted,
)

SUMS = ("limits.cpu", "limits.memory", "limits.processes")
"""Limits that LXD adds up over a project, so that each of its instances needs its own."""

ALL = "limits.instances"
COUNTS = {names.CONTAINER: "limits.containers", names.MACHINE: "limits.virtual-machines"}
"""Limits of how many instances of a subtype a project may have."""

_SIZE = re.compile(r"(\d+)\s*(|B|bytes|[kKMGTPE]i?B)")
_UNITS = "KMGTPE"

Usage = Mapping[str, int]
"""The use that instances of a project make of each of its limits, by key."""


def config_of(target: ObjectId) -> Config:
    """Return the configuration of the target's project. Raises BackupError if there is none."""
    project = target.level2
    try:
        found = client_of(target.type).get(f"/1.0/projects/{quote(project, safe='')}", str(target))
    except NotFoundError as error:
        raise BackupError(
            f"{target.type}.no_project",
            f"{target}: there is no project {project}",
            f"create it ({_lxc(target)} project create {quoted(project)}), or name another with "
            "--level2",
        ) from error
    return dict(found["config"])


def check_volumes(target: ObjectId, project: Config) -> None:
    """Raise BackupError if the project has no volumes of its own, but uses another project's."""
    if not is_set(project, "features.storage.volumes"):
        raise BackupError(
            f"{target.type}.no_volumes",
            f"{target}: project {target.level2} has no volumes of its own, it uses those of "
            "default",
            "restore it there with --level2 default",
        )


def limits(target: ObjectId, project: Config, expanded: Config) -> dict[str, str]:
    """Return the limits that an instance has to be made with.

    expanded: its configuration with that of profiles.
    Raises BackupError if it cannot be made in the project.
    """
    for key in disk_limits(target, project):
        raise BackupError(
            f"{target.type}.limits",
            f"{target}: project {target.level2} has {key}, under which nothing can be received "
            "into an instance",
            f"take it away meanwhile: {unset(_lxc(target), target.level2, [key])}",
        )
    summed = [key for key in SUMS if key in project]
    if lacking := [key for key in summed if key not in expanded]:
        raise BackupError(
            f"{target.type}.limits",
            f"{target}: project {target.level2} demands {' and '.join(lacking)} of each instance, "
            "and this one has none",
            f"give it to a profile of it ({_lxc(target)} profile set PROFILE {lacking[0]}=... "
            f"--project {target.level2}), or restore into another project with --level2",
        )
    return {key: expanded[key] for key in summed}


def check_room(target: ObjectId, project: Config, expanded: Config, used: Usage) -> None:
    """Raise BackupError if the limits leave no room for one more instance.

    One that is replaced counts as well until the end.
    """
    if full := exceeded(project, expanded, used, target.subtype):
        raise BackupError(
            f"{target.type}.limits",
            f"{target}: project {target.level2} has no room for one more instance, not even until "
            f"one is replaced: {', '.join(f'{key} is {project[key]}' for key in full)}",
            f"raise it meanwhile: {set_keys(_lxc(target), target.level2, full)}",
        )


def exceeded(project: Config, expanded: Config, used: Usage, subtype: str) -> dict[str, str]:
    """Return the limits that one more instance would exceed, with the values that it needs."""
    counts = (ALL, COUNTS[subtype])
    own = {**dict.fromkeys(counts, "1"), **expanded}
    needed = {
        key: used[key] + (_number(own.get(key, "")) or 0)
        for key in (*counts, *SUMS)
        if key in used
    }
    return {
        key: str(value)
        for key, value in needed.items()
        if (limit := _number(project.get(key, ""))) is not None and value > limit
    }


def largest(configs: Sequence[Config]) -> Config:
    """Return the highest value that one of the instances has of each limit that is added up."""
    return {
        key: max(
            (config[key] for config in configs if key in config), key=lambda v: _number(v) or 0
        )
        for key in SUMS
        if any(key in config for config in configs)
    }


def has_limits(project: Config) -> bool:
    return any(key in project for key in (ALL, *COUNTS.values(), *SUMS))


def instances_of(target: ObjectId) -> Sequence[Json]:
    """Return the instances of the target's project."""
    path = names.in_project("/1.0/instances", target.level2, recursion="1")
    return list(client_of(target.type).get(path))


def usage(instances: Iterable[Json]) -> Usage:
    """Return what instances use of the limits of their project.

    What killed restores left is not counted: the next one removes it first.
    """
    counted = [instance for instance in instances if not names.is_ours(instance["name"])]
    configs = [instance["expanded_config"] for instance in counted]
    return {
        ALL: len(counted),
        **{key: _count(counted, subtype) for subtype, key in COUNTS.items()},
        **{key: sum(_number(config.get(key, "")) or 0 for config in configs) for key in SUMS},
    }


def _count(instances: Iterable[Json], subtype: str) -> int:
    return sum(instance["type"] == names.TYPES[subtype] for instance in instances)


def disk_limits(target: ObjectId, project: Config) -> list[str]:
    """Return the keys by which LXD demands a size of what is made in the target's pool."""
    keys = ("limits.disk", f"limits.disk.pool.{target.level1}")
    return [key for key in keys if key in project]


def low_level_forbidden(project: Config, keys: Sequence[str], subtype: str) -> list[Forbidden]:
    """Return those of the keys by which LXD knows an instance that nobody may set.

    That goes for projects with mere limits, too.
    """
    if not is_watched(project) or project.get(LOW_LEVEL[subtype]) == "allow":
        return []
    return [Forbidden(key, LOW_LEVEL[subtype]) for key in keys]


def check_allowed(target: ObjectId, project: Config, found: Iterable[Forbidden]) -> None:
    """Raise BackupError if the project forbids something, with the command that allows it."""
    found = list(found)
    if not found:
        return
    name = target.level2
    hint = f"allow it: {set_keys(_lxc(target), name, {one.key: one.value for one in found})}"
    if not is_restricted(project):  # the project may hold what LXD forbids in a restricted one
        limits = [key for key in project if key.startswith("limits.")]
        hint += f"; or unset {', '.join(limits)} meanwhile"
    raise BackupError(
        f"{target.type}.restricted",
        f"{target}: project {name} has limits or restrictions, and forbids "
        f"{', '.join(one.what for one in found)}",
        hint,
    )


def set_keys(lxc: str, project: str, keys: Config) -> str:
    """Return the command that sets keys of a project. lxc: the client of the daemon."""
    pairs = (quoted(f"{key}={value}") for key, value in keys.items())
    return f"{lxc} project set {quoted(project)} {' '.join(pairs)}"


def unset(lxc: str, project: str, keys: Sequence[str]) -> str:
    """Return the commands that take keys of a project away."""
    return " && ".join(f"{lxc} project unset {quoted(project)} {key}" for key in keys)


def is_watched(project: Config) -> bool:
    """Return whether LXD looks at what instances of the project are given."""
    return is_restricted(project) or any(key.startswith("limits.") for key in project)


def _lxc(target: ObjectId) -> str:
    return client_of(target.type).daemon.client


def _number(text: str) -> int | None:
    """Return the number or bytes that a limit says; None if it says neither."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        return None
    unit = found[2] if found[2] not in ("B", "bytes") else ""
    base = 1024 if unit.endswith("iB") else 1000
    power = _UNITS.index(unit[0].upper()) + 1 if unit else 0
    return int(found[1]) * int(base**power)
