"""Has the server write a snapshot to S3, or finishes the one that a killed run began.

The server works on whoever is killed here, so that each attempt is noted on disk before the server
is asked, has a folder and an id of its own, and is looked for first by the next run: what is done
or still at work is adopted, what came to nothing is cleared away, nothing is written twice.
"""

from contextlib import suppress
from dataclasses import asdict
from uuid import uuid4

from three_backup.errors import BackupError, UnreachableError
from three_backup.model import layout
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest
from three_backup.s3.store import Store
from three_backup.sources.base import ParentUnusableError
from three_backup.sources.clickhouse import operation, sql, stored
from three_backup.sources.clickhouse.attempt import (
    Attempt,
    Link,
    Noted,
    folder_key,
    links,
    noted,
)
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.options import cluster_of, place_of, s3_settings
from three_backup.sources.clickhouse.relations import Server, existing, read_server
from three_backup.sources.jobs import ClearJob, SnapshotJob


def take(job: SnapshotJob) -> Manifest:
    """Raises ParentUnusableError where the chain is not whole in S3."""
    store = _store(job)
    client = connect(job.carrier, store.storage)
    adopted = _finished(client, store, job)
    if adopted is not None:
        return adopted
    chain = _whole_chain(store, job)
    server = read_server(client)
    attempt = _new_attempt(client, server, job, chain)
    attempt.note(job.directory)
    try:
        client.ask(_statement(server, store, job, attempt))
        return _finish(client, store, job, attempt)
    except UnreachableError:
        raise  # the server may be writing still: the next run sees what came of it
    except BackupError:
        with suppress(BackupError):  # else the next run clears up
            _clear(client, store, attempt, job)
        raise


def clear(job: ClearJob) -> None:
    client = connect(job.carrier, job.store.storage)
    for one in noted(job.carrier, job.journals):
        manifest = layout.manifest_key(job.carrier, one.attempt.snapshot)
        if job.store.size(manifest) is not None:
            one.attempt.forget(job.journals)
        elif one.since < job.before.timestamp():
            _end(client, job.store, one.attempt)
            one.attempt.forget(job.journals)


def _store(job: SnapshotJob) -> Store:
    if job.store is None:
        raise ValueError("ClickHouse writes to S3 and nowhere else")
    return job.store


def _finished(client: Client, store: Store, job: SnapshotJob) -> Manifest | None:
    """What came of an attempt that a killed run began; None where that was nothing."""
    for one in noted(job.carrier, job.directory):
        if store.size(layout.manifest_key(job.carrier, one.attempt.snapshot)) is not None:
            one.attempt.forget(job.directory)
        elif _is_wanted(one, job) and _came_to_something(client, store, one.attempt):
            job.say(f"{job.carrier}: {one.attempt.snapshot}, begun by an earlier run, is finished")
            return _finish(client, store, job, one.attempt)
        else:
            _clear(client, store, one.attempt, job)
    return None


def _is_wanted(one: Noted, job: SnapshotJob) -> bool:
    """Whether it builds on what the new snapshot would build on."""
    return one.attempt.snapshot.parent == job.snapshot.parent


def _came_to_something(client: Client, store: Store, attempt: Attempt) -> bool:
    known = operation.find(client, attempt.id)
    if known is not None and known.at_work:
        return True
    return stored.is_complete(store, attempt.key)


def _whole_chain(store: Store, job: SnapshotJob) -> tuple[Link, ...]:
    """What the new snapshot builds on, once all of it was seen to be in S3."""
    if job.parent is None:
        return ()
    chain = links(job.parent.manifest.facts)
    for link in chain:
        found = stored.contents(store, folder_key(job.carrier, link.folder))
        if (found.keys, found.size) != (link.keys, link.size):
            raise ParentUnusableError(
                "clickhouse.damaged",
                f"{link.folder} has {found.keys} keys with {found.size} bytes in S3 and had "
                f"{link.keys} with {link.size}",
            )
    return chain


def _new_attempt(
    client: Client, server: Server, job: SnapshotJob, chain: tuple[Link, ...]
) -> Attempt:
    found = existing(client, ObjectId.parse(job.carrier))
    if found.holds_credentials:
        job.say(
            f"{job.carrier}: its definition may hold a password or a key, stored with it, "
            "readable to whoever reads the bucket"
        )
    return Attempt(
        job.carrier, job.snapshot, str(uuid4()), chain, found.size, found.facts, server.version
    )


def _statement(server: Server, store: Store, job: SnapshotJob, attempt: Attempt) -> str:
    object_id = ObjectId.parse(job.carrier)
    base = None
    if attempt.chain:
        key = folder_key(job.carrier, attempt.chain[-1].folder)
        base = place_of(store, key, job.source_settings)
    settings = {"id": attempt.id, **s3_settings(server, base)}
    if store.storage.storage_class:
        settings["s3_storage_class"] = store.storage.storage_class
    return sql.backup(
        sql.relation(object_id),
        place_of(store, attempt.key, job.source_settings),
        settings,
        base,
        cluster_of(object_id, job.source_settings),
    )


def _finish(client: Client, store: Store, job: SnapshotJob, attempt: Attempt) -> Manifest:
    """The manifest, once the server has finished and what it says was found in S3."""
    known = operation.find(client, attempt.id)
    if known is not None:
        if job.parent is None:
            job.expect(attempt.size)
        known = operation.awaited(client, job.carrier, known, job.source_settings, job.advance)
    # A BACKUP that was killed at its very end is done all the same: `.backup` is what counts.
    if not stored.is_complete(store, attempt.key):
        raise client.explained(known.error) if known else _lost(job.carrier)
    written, found = stored.verified(store, attempt.key, job.carrier)
    own = Link(attempt.folder, found.keys, found.size)
    return Manifest(
        carrier=job.carrier,
        snapshot=attempt.snapshot,
        objects=(CarriedObject(ObjectId.parse(job.carrier), attempt.size, attempt.facts),),
        files=(),
        source_size=attempt.size,
        stored_size=found.size + found.manifest_size,
        facts={
            "uuid": written.uuid,
            "base_uuid": written.base_uuid,
            "place": place_of(store, attempt.key, job.source_settings).shown,
            "chain": [asdict(link) for link in (*attempt.chain, own)],
        },
        program=job.program,
        server=attempt.server,
        host=job.host,
    )


def _clear(client: Client, store: Store, attempt: Attempt, job: SnapshotJob) -> None:
    _end(client, store, attempt)
    attempt.forget(job.directory)


def _end(client: Client, store: Store, attempt: Attempt) -> None:
    """Nobody writes there any more, and nothing is left of what was written."""
    known = operation.find(client, attempt.id)
    if known is not None:
        operation.kill(client, known)
    store.delete_folder(f"{attempt.key}/")


def _lost(about: str) -> BackupError:
    return BackupError(
        "clickhouse.restarted",
        f"{about}: the server was restarted in the middle",
        "the next run clears up and starts anew",
    )
