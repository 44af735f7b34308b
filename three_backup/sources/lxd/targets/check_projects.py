"""Checks that no restriction or limit of a project stands in the way of backups and restores."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from three_backup.model.findings import Finding, Mark, note
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client
from three_backup.sources.lxd.daemon.names import CONTAINER
from three_backup.sources.lxd.targets import project
from three_backup.sources.lxd.targets.project import is_watched
from three_backup.sources.lxd.targets.restrictions import (
    LOW_LEVEL,
    SNAPSHOTS,
    Config,
    forbidden,
    forbids_snapshots,
    is_restricted,
)

_PROJECTS = "/1.0/projects?recursion=1"

Json = Mapping[str, Any]


def findings(client: Client, instances: Sequence[Json]) -> Iterator[Finding]:
    """Yield what is in the way, with the commands that remove it. instances: of all projects."""
    lxc, of_projects = client.daemon.client, defaultdict(list)
    for instance in instances:
        of_projects[instance["project"]].append(instance)
    for found in client.get(_PROJECTS):
        name, config = found["name"], found["config"]
        subject = f"project {name}"
        if forbids_snapshots(config):
            yield _no_snapshots(lxc, subject, found)
        if ways := list(_in_the_way(client, name, config, of_projects[name])):
            sentences, remedies = zip(*ways, strict=True)
            sentence = f"no restore into it succeeds: {'; '.join(sentences)}"
            yield note(subject, sentence, " && ".join(remedies))


def _no_snapshots(lxc: str, subject: str, found: Json) -> Finding:
    is_empty = not any("/instances/" in used or "/volumes/" in used for used in found["used_by"])
    sentence = "it forbids snapshots, so nothing in it can be backed up"
    remedy = project.set_keys(lxc, found["name"], {SNAPSHOTS: "allow"})
    return Finding(Mark.NOTE if is_empty else Mark.BAD, subject, sentence, remedy)


def _in_the_way(
    client: Client, name: str, config: Config, instances: Sequence[Json]
) -> Iterator[tuple[str, str]]:
    """Yield what is in the way of a restore into a project, each with a command."""
    lxc, types = client.daemon.client, _subtypes(instances)
    keys = [LOW_LEVEL[subtype] for subtype in types]
    if closed := [key for key in keys if is_watched(config) and config.get(key) != "allow"]:
        yield f"{' and '.join(closed)} is not allow", _allowing(client, name, config, instances)
    if disks := [key for key in config if key.startswith("limits.disk")]:
        yield f"it has {' and '.join(disks)}", project.unset(lxc, name, disks)
    largest = project.largest([instance["expanded_config"] for instance in instances])
    used, full = project.usage(instances), {}
    for subtype in types:
        full.update(project.exceeded(config, largest, used, subtype))
    if full:
        limits = " and ".join(f"{key}={config[key]}" for key in full)
        yield f"{limits} leaves no room for one more instance", project.set_keys(lxc, name, full)


def _allowing(client: Client, name: str, config: Config, instances: Sequence[Json]) -> str:
    """Return the command that allows low-level keys.

    LXD refuses that where a project without restrictions, or a profile of it, holds what it would
    forbid in others.
    """
    lxc, types = client.daemon.client, _subtypes(instances)
    allowed = {LOW_LEVEL[subtype]: "allow" for subtype in types}
    if not is_restricted(config):
        as_restricted = {**config, "restricted": "true", **allowed}
        profiles = client.get(names.in_project("/1.0/profiles", name, recursion="1"))
        held = [
            *((profile["config"], profile["devices"], CONTAINER) for profile in profiles),
            *(
                (one["expanded_config"], one["expanded_devices"], names.subtype_of(one))
                for one in instances
            ),
        ]
        if any(forbidden(as_restricted, *one) for one in held):
            return project.unset(lxc, name, [key for key in config if key.startswith("limits.")])
    return project.set_keys(lxc, name, allowed)


def _subtypes(instances: Sequence[Json]) -> list[str]:
    """Return the subtypes of instances that matter in a project: its own, and containers."""
    return sorted({CONTAINER, *(names.subtype_of(instance) for instance in instances)})
