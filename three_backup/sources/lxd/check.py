"""Checks that instances and volumes can be backed up: asks the daemon, and ZFS for each pool."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

from three_backup.errors import BackupError
from three_backup.model.findings import Finding, good, note, tried
from three_backup.screen.formats import counted
from three_backup.sources.jobs import CheckJob
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client
from three_backup.sources.lxd.take import ROOM
from three_backup.sources.lxd.targets import check_projects

_INSTANCES = "/1.0/instances?recursion=1&all-projects=true"
_POOLS = "/1.0/storage-pools?recursion=1"
_VOLUMES = "/1.0/storage-pools/{}/volumes/custom?recursion=1&all-projects=true"


def check(client: Client, job: CheckJob) -> Iterator[Finding]:
    pools = client.get(_POOLS)
    instances = client.get(_INSTANCES)
    listed = counted(len(instances), "instance")
    yield good(client.daemon.type, f"{client.server()} answers, with {listed}")
    for pool in pools:
        subject = f"pool {pool['name']}"
        if pool["driver"] == "zfs":
            yield tried(subject, partial(_listed, client, subject, pool))
        else:
            yield note(subject, f"it is {pool['driver']}; only pools on ZFS are backed up yet")
    yield from check_projects.findings(client, instances)
    volumes = chain.from_iterable(client.get(_volumes(pool)) for pool in pools)
    yield from (_left(found) for found in (*instances, *volumes) if _is_left(found))


def _listed(client: Client, subject: str, pool: Mapping[str, Any]) -> str:
    """List the dataset of a pool as a backup does."""
    root, about = client.root(pool["name"]), f"{client.daemon.type}: {subject}"
    ((name, free),) = client.zfs(("list", "-Hp", "-o", "name,available", root), about)
    if int(free) < ROOM:
        raise BackupError(f"{client.daemon.type}.full", f"{about}: it is full", "make room in it")
    return f"ZFS has it as {name}"


def _volumes(pool: Mapping[str, Any]) -> str:
    return _VOLUMES.format(quote(pool["name"], safe=""))


def _is_left(found: Mapping[str, Any]) -> bool:
    return str(found["name"]).startswith(names.REPLACED)


def _left(found: Mapping[str, Any]) -> Finding:
    return note(
        found["name"],
        f"a restore put it aside in project {found['project']}, and was killed or could not "
        "remove it",
        "restore the same object again: it gets its name back, or is removed with --overwrite",
    )
