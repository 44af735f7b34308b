"""Checks that containers and volumes can be backed up: asks LXD, and ZFS for each pool."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.findings import Finding, good, note, tried
from three_backup.screen.formats import counted
from three_backup.sources.jobs import CheckJob
from three_backup.sources.lxd import client
from three_backup.sources.lxd.names import TYPE
from three_backup.sources.lxd.take import ROOM

_INSTANCES = "/1.0/instances?all-projects=true"
_POOLS = "/1.0/storage-pools?recursion=1"


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


def _listed(subject: str, pool: Mapping[str, Any]) -> str:
    """List the dataset of a pool as a backup does."""
    root = client.root(pool["name"])
    about = f"{TYPE}: {subject}"
    ((name, free),) = client.zfs(("list", "-Hp", "-o", "name,available", root), about)
    if int(free) < ROOM:
        raise BackupError("lxd.full", f"{about}: it is full", "make room in it")
    return f"ZFS has it as {name}"
