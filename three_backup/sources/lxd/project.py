"""Checks that a project may have what is restored; the daemon itself refuses too late."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.lxd.client import client_of
from three_backup.sources.lxd.failures import NotFoundError
from three_backup.sources.lxd.instance_configuration import TRUE

_SUMS = ("limits.cpu", "limits.memory", "limits.processes")
"""Limits that LXD adds up over a project, so that each of its instances needs its own."""

_LOW_LEVEL = "restricted.containers.lowlevel"

Config = Mapping[str, str]


def config_of(target: ObjectId) -> Config:
    """Return the configuration of the target's project. Raises BackupError if there is none."""
    project = target.level2
    try:
        found = client_of(target.type).get(f"/1.0/projects/{quote(project, safe='')}", str(target))
    except NotFoundError as error:
        raise BackupError(
            f"{target.type}.no_project",
            f"{target}: there is no project {project}",
            f"create it ({_client(target)} project create {project}), or name another with "
            "--level2",
        ) from error
    return dict(found["config"])


def check_volumes(target: ObjectId, project: Config) -> None:
    """Raise BackupError if the project has no volumes of its own, but uses another project's."""
    if not _is_true(project, "features.storage.volumes"):
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
            f"take it away meanwhile: {_client(target)} project unset {target.level2} {key}",
        )
    summed = [key for key in _SUMS if key in project]
    if lacking := [key for key in summed if key not in expanded]:
        raise BackupError(
            f"{target.type}.limits",
            f"{target}: project {target.level2} demands {' and '.join(lacking)} of each instance, "
            "and this one has none",
            f"give it to a profile of it ({_client(target)} profile set PROFILE {lacking[0]}=... "
            f"--project {target.level2}), or restore into another project with --level2",
        )
    return {key: expanded[key] for key in summed}


def disk_limits(target: ObjectId, project: Config) -> list[str]:
    """Return the keys by which LXD demands a size of what is made in the target's pool."""
    keys = ("limits.disk", f"limits.disk.pool.{target.level1}")
    return [key for key in keys if key in project]


def check_low_level(target: ObjectId, project: Config, keys: Sequence[str]) -> None:
    """Raise BackupError if the project lets nobody set such keys of a container."""
    is_restricted = _is_true(project, "restricted")
    limits = [key for key in project if key.startswith("limits.")]
    if not keys or not (is_restricted or limits) or project.get(_LOW_LEVEL) == "allow":
        return
    hint = f"allow it: {_client(target)} project set {target.level2} {_LOW_LEVEL}=allow"
    if not is_restricted:  # the project may hold what LXD forbids in a restricted one
        hint += f"; or unset {', '.join(limits)} meanwhile"
    raise BackupError(
        f"{target.type}.restricted",
        f"{target}: project {target.level2} has limits or restrictions, and lets nobody set "
        f"{', '.join(keys)}",
        hint,
    )


def _client(target: ObjectId) -> str:
    """Return the program that a hint names."""
    return client_of(target.type).daemon.client


def _is_true(project: Config, key: str) -> bool:
    return project.get(key, "").lower() in TRUE
