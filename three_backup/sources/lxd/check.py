"""Checks that instances and volumes can be backed up: asks the daemon, and ZFS for each pool."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from three_backup.model.findings import Finding, good, note, tried
from three_backup.screen.formats import counted
from three_backup.sources.jobs import CheckJob
from three_backup.sources.lxd.client import Client

_INSTANCES = "/1.0/instances?all-projects=true"
_POOLS = "/1.0/storage-pools?recursion=1"


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


def _listed(client: Client, subject: str, pool: Mapping[str, Any]) -> str:
    """List the dataset of a pool as a backup does."""
    root = pool["config"]["zfs.pool_name"]
    rows = client.zfs(
        ("list", "-Hp", "-o", "name,available", root), f"{client.daemon.type}: {subject}"
    )
    return f"ZFS has it as {rows[0][0]}"
