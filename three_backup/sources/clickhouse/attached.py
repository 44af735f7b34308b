"""Has a table of a snapshot in a database of ours: the server attaches what lies in S3.

Servers that cannot attach a backup (older than 25.2) restore the table into a database of its own,
which is dropped afterwards.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

from three_backup.errors import BackupError, UnreachableError
from three_backup.host.machine import host_id
from three_backup.host.processes import Holder
from three_backup.model.objects import ObjectId
from three_backup.s3.store import Store
from three_backup.sources.clickhouse import chain, sql
from three_backup.sources.clickhouse.client import Client
from three_backup.sources.clickhouse.options import place_of
from three_backup.sources.clickhouse.relations import DRILLING, read_server
from three_backup.sources.clickhouse.restore import restore
from three_backup.sources.jobs import RestoreJob, Wanted

_ATTACH = "CREATE DATABASE {} ENGINE = Backup({}, {})"
_CREATE = "CREATE DATABASE {}"
_COUNT = "SELECT count() AS rows FROM {}"
_OURS = "SELECT name FROM system.databases WHERE startsWith(name, {})"
_NUMBERS = count(1)


@contextmanager
def attached(
    job: RestoreJob, store: Store, client: Client, object_id: ObjectId
) -> Iterator[sql.Relation]:
    """Have the table in a database of ours during the block; drop what killed looks left."""
    ours = f"{DRILLING}look_{hashlib.sha256(host_id().encode()).hexdigest()[:12]}_"
    for name in _left(client, ours):
        client.ask(sql.drop_database(name))
    database = f"{ours}{_me()}_{next(_NUMBERS)}"
    try:
        relation = sql.Relation(database, object_id.level3)
        if not _attach(job, store, client, object_id, relation):
            client.ask(_CREATE.format(sql.identifier(database)))
            _restore(job, store, client, object_id, database)
        yield relation
    finally:
        client.ask(sql.drop_database(database))


def _left(client: Client, ours: str) -> list[str]:
    """Return our databases whose processes have ended."""
    found = (str(row["name"]) for row in client.ask(_OURS.format(sql.literal(ours))))
    return [name for name in found if not _is_at_work(name.removeprefix(ours))]


def _me() -> str:
    """Return what tells this process from any other: a later one may have its number."""
    return f"{os.getpid()}_{_start_time(os.getpid())}"


def _is_at_work(named: str) -> bool:
    pid, start_time, *_ = (*named.split("_"), "")
    return pid.isdecimal() and start_time == str(_start_time(int(pid)))


def _start_time(pid: int) -> int | None:
    holder = Holder.of(pid)
    return None if holder is None else holder.start_time


def _attach(
    job: RestoreJob, store: Store, client: Client, object_id: ObjectId, relation: sql.Relation
) -> bool:
    """Attach what lies in S3, and return whether the server can do so."""
    manifests = [files.manifest for files in job.chain]
    place = place_of(store, chain.folders(manifests)[-1], job.source_settings)
    name, source = sql.identifier(relation.database), sql.literal(object_id.level2)
    try:
        client.ask(_ATTACH.format(name, source, place.secret))
        client.ask(_COUNT.format(relation))  # opens the parts of all links
    except UnreachableError:
        raise
    except BackupError:
        client.ask(sql.drop_database(relation.database))
        return False
    return True


def _restore(
    job: RestoreJob, store: Store, client: Client, object_id: ObjectId, database: str
) -> None:
    level1 = read_server(client, job.source_settings).cluster
    target = replace(object_id, level1=level1, level2=database)
    settings = replace(job.source_settings, clickhouse_on_cluster=False)
    options = {**job.options, "check": False}
    whole = replace(
        job, wanted=[Wanted(object_id, target)], source_settings=settings, options=options
    )
    for _, outcome in restore(whole, store):
        if isinstance(outcome, BackupError):
            raise outcome
