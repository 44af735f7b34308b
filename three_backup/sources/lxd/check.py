"""Checks that containers and volumes can be backed up: asks LXD, and ZFS for each pool."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

from three_backup.model.findings import Finding, good, note, tried
from three_backup.screen.formats import counted
from three_backup.sources.jobs import CheckJob
from three_backup.sources.lxd import check_projects, client, names
from three_backup.sources.lxd.names import TYPE

_INSTANCES = "/1.0/instances?recursion=1&all-projects=true"
_POOLS = "/1.0/storage-pools?recursion=1"
_VOLUMES = "/1.0/storage-pools/{}/volumes/custom?recursion=1&all-projects=true"


def check(job: CheckJob) -> Iterator[Finding]:
    pools = client.get(_POOLS)
    instances = client.get(_INSTANCES)
    yield good(TYPE, f"{client.server()} answers, with {counted(len(instances), 'instance')}")
    for pool in pools:
        subject = f"pool {pool['name']}"
        if pool["driver"] == "zfs":
            yield tried(subject, partial(_listed, subject, pool))
        else:
            yield note(subject, f"it is {pool['driver']}; only pools on ZFS are backed up yet")
    yield from check_projects.findings(instances)
    volumes = chain.from_iterable(client.get(_volumes(pool)) for pool in pools)
    yield from (_left(found) for found in (*instances, *volumes) if _is_left(found))


def _listed(subject: str, pool: Mapping[str, Any]) -> str:
    """List the dataset of a pool as a backup does."""
    root = pool["config"]["zfs.pool_name"]
    rows = client.zfs(("list", "-Hp", "-o", "name,available", root), f"{TYPE}: {subject}")
    return f"ZFS has it as {rows[0][0]}"


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
