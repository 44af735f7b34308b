"""Proves that tables come back: restores them into a database of its own and drops that.

A view is not restored: a materialized view would catch the rows that are inserted meanwhile and
write them where it always does. For views, and for tables without rows of their own, what is
stored is only compared with the server's own list of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject
from three_backup.s3.store import Store
from three_backup.sources.base import Restored
from three_backup.sources.clickhouse import sql, stored
from three_backup.sources.clickhouse.attempt import folder_key, links
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.relations import DRILLING, read_server, stores
from three_backup.sources.clickhouse.restore import restore
from three_backup.sources.jobs import DrillJob, RestoreJob, Wanted

Outcome = tuple[ObjectId, Restored | BackupError]


def drill(job: DrillJob, store: Store) -> Iterator[Outcome]:
    """Drill each object; the facts of a restored table hold its `rows`.

    Removes first what a killed drill of the same name left.
    """
    for carried in job.objects:
        if carried.id.subtype == "table" and stores(str(carried.facts.get("engine"))):
            yield carried.id, _drill(job, store, carried)
        else:
            yield carried.id, _read_through(job, store, carried)


def read_through(job: DrillJob, store: Store) -> Iterator[Outcome]:
    """Compare sizes only: the hashes that a server keeps of its files are of its own kind."""
    for carried in job.objects:
        yield carried.id, _read_through(job, store, carried)


def _drill(job: DrillJob, store: Store, carried: CarriedObject) -> Restored | BackupError:
    try:
        client = connect(str(carried.id), store.storage)
        with _database(client, f"{DRILLING}{job.name}") as database:
            level1 = read_server(client, job.source_settings).cluster
            target = replace(carried.id, level1=level1, level2=database, level3="drilled")
            ((_, outcome),) = restore(_restore_job(job, Wanted(carried.id, target)), store)
    except BackupError as error:
        outcome = error
    return _about(carried.id, outcome) if isinstance(outcome, BackupError) else outcome


@contextmanager
def _database(client: Client, name: str) -> Iterator[str]:
    """Drop the database before the block, since a killed drill may have left it, and after it."""
    drop = sql.drop_database(name)
    client.ask(drop)
    try:
        yield name
    finally:
        client.ask(drop)


def _restore_job(job: DrillJob, wanted: Wanted) -> RestoreJob:
    return RestoreJob(
        wanted=[wanted],
        chain=job.chain,
        overwrite=False,
        source_settings=replace(job.source_settings, clickhouse_on_cluster=False),
        work_dir=job.work_dir,
        advance=job.advance,
        say=job.say,
    )


def _read_through(job: DrillJob, store: Store, carried: CarriedObject) -> Restored | BackupError:
    """Check that each link of the chain is in S3 as the server and our manifest say."""
    read = 0
    try:
        for files in job.chain:
            link = links(files.manifest.facts)[-1]
            folder = folder_key(files.manifest.carrier, link.folder)
            _, found = stored.verified(store, folder, str(carried.id))
            if (found.keys, found.size) != (link.keys, link.size):
                raise BackupError(
                    "clickhouse.damaged",
                    f"{carried.id}: snapshot {files.manifest.snapshot} has {found.keys} keys with "
                    f"{found.size} bytes in S3 and had {link.keys} with {link.size}",
                    "the next base makes up for it",
                )
            read += found.manifest_size
    except BackupError as error:
        return error
    return Restored({"bytes_read": read})


def _about(object_id: ObjectId, error: BackupError) -> BackupError:
    """Return the error with the object's id instead of that of the drill's table."""
    said = error.message.partition(": ")[2] if ": " in error.message else error.message
    return BackupError(error.code, f"{object_id}: {said}", error.hint)
