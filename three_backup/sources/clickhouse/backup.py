"""Has the server write a snapshot to S3, or finishes the one that a killed run began.

The server works on even if this program is killed. So each attempt has a folder and an id of its
own, and is noted on disk before the server is asked. The next run first looks for noted attempts:
it adopts what is done or still at work, and clears away what came to nothing. Nothing is written
twice.
"""

import time
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
    Noted,
    StoredLink,
    folder_key,
    links,
    noted,
)
from three_backup.sources.clickhouse.changes import (
    NOT_IN_IT,
    ChangesWatch,
    MixedError,
    settle,
)
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.options import cluster_of, place_of, s3_settings
from three_backup.sources.clickhouse.relations import Server, changing, existing, read_server
from three_backup.sources.jobs import ClearJob, DirectJob

_REMEMBERED = 240.0
"""Seconds that a server surely lists parts that were merged: half of its default."""

_TRIES = 3
"""How often a table is backed up anew because its rows changed in the middle."""


def take(job: DirectJob) -> Manifest:
    """Take a snapshot. Raises ParentUnusableError if the chain is not whole in S3."""
    client = connect(job.carrier, job.store.storage)
    adopted = _finished(client, job)
    if adopted is not None:
        return adopted
    chain = _whole_chain(job)
    server = read_server(client, job.source_settings, remember=True)
    for tries_left in reversed(range(_TRIES)):
        attempt = _new_attempt(client, server, job, chain)
        attempt.note(job.journals)
        try:
            client.ask(_statement(server, job, attempt))
            return _finish(client, job, attempt)
        except UnreachableError:
            raise  # the server may still be writing; the next run sees what came of it
        except BackupError as error:
            with suppress(BackupError):  # if this fails, the next run clears up
                _clear(client, attempt, job)
            if not (isinstance(error, MixedError) and tries_left):
                raise
    raise AssertionError("the last try returns or raises")


def clear(job: ClearJob) -> None:
    client = connect(job.carrier, job.store.storage)
    for note in noted(job.carrier, job.journals):
        manifest = layout.manifest_key(job.carrier, note.attempt.snapshot)
        if job.store.size(manifest) is not None:
            note.attempt.forget(job.journals)
        elif note.since < job.before.timestamp():
            _end(client, job.store, note.attempt)
            note.attempt.forget(job.journals)


def _finished(client: Client, job: DirectJob) -> Manifest | None:
    """Finish an attempt of a killed run and return its manifest; None if nothing came of any."""
    for note in noted(job.carrier, job.journals):
        if job.store.size(layout.manifest_key(job.carrier, note.attempt.snapshot)) is not None:
            note.attempt.forget(job.journals)
        elif (
            _has_same_parent(note, job)
            and not _is_forgotten(note)
            and _is_at_work_or_done(client, job.store, note.attempt)
        ):
            job.say(
                f"{job.carrier}: {note.attempt.snapshot}, begun by an earlier run, is finished"
            )
            with suppress(MixedError):
                return _finish(client, job, note.attempt)
            _clear(client, note.attempt, job)
        else:
            _clear(client, note.attempt, job)
    return None


def _has_same_parent(note: Noted, job: DirectJob) -> bool:
    return note.attempt.snapshot.parent == job.snapshot.parent


def _is_at_work_or_done(client: Client, store: Store, attempt: Attempt) -> bool:
    known = operation.find(client, attempt.id)
    if known is not None and known.at_work:
        return True
    return stored.is_complete(store, attempt.key)


def _is_forgotten(note: Noted) -> bool:
    """Return whether the server may have forgotten which updates came during the backup."""
    return note.attempt.patched and time.time() - note.since > _REMEMBERED


def _whole_chain(job: DirectJob) -> tuple[StoredLink, ...]:
    """Return the links that the new snapshot builds on.

    Raises ParentUnusableError if one of them is not whole in S3.
    """
    if job.parent is None:
        return ()
    chain = links(job.parent.manifest.facts)
    for link in chain:
        found = stored.contents(job.store, folder_key(job.carrier, link.folder))
        if (found.keys, found.size) != (link.keys, link.size):
            raise ParentUnusableError(
                "clickhouse.damaged",
                f"{link.folder} has {found.keys} keys with {found.size} bytes in S3 and had "
                f"{link.keys} with {link.size}",
            )
    return chain


def _new_attempt(
    client: Client, server: Server, job: DirectJob, chain: tuple[StoredLink, ...]
) -> Attempt:
    found = existing(client, ObjectId.parse(job.carrier))
    if found.holds_credentials:
        job.say(
            f"{job.carrier}: its definition may hold a password or a key, stored with it, "
            "readable to whoever reads the bucket"
        )
    watched = changing(client, found)
    of = watched.relation if watched else None
    if watched is not None and watched.unsettled:
        everywhere = cluster_of(ObjectId.parse(job.carrier), job.source_settings)
        settle(client, job, watched.relation, everywhere)
    return Attempt(
        job.carrier,
        job.snapshot,
        str(uuid4()),
        chain,
        found.size,
        found.facts,
        server.version,
        (of.database, of.name) if of else None,
        watched is not None and watched.patched,
        found.asked,
    )


def _statement(server: Server, job: DirectJob, attempt: Attempt) -> str:
    object_id = ObjectId.parse(job.carrier)
    base = None
    if attempt.chain:
        key = folder_key(job.carrier, attempt.chain[-1].folder)
        base = place_of(job.store, key, job.source_settings)
    settings = {"id": attempt.id, **s3_settings(server, base)}
    if job.store.storage.storage_class:
        settings["s3_storage_class"] = job.store.storage.storage_class
    return sql.backup(
        sql.relation(object_id),
        place_of(job.store, attempt.key, job.source_settings),
        settings,
        base,
        cluster_of(object_id, job.source_settings),
    )


def _finish(client: Client, job: DirectJob, attempt: Attempt) -> Manifest:
    """Wait for the server, compare S3 with what it says it stored, and return the manifest."""
    watch = _watch(attempt)
    known = operation.find(client, attempt.id, watch.question if watch else operation.NOTHING)
    if known is not None:
        if job.parent is None:
            job.expect(attempt.size)
        known = operation.awaited(
            client, job.carrier, known, job.source_settings, job.advance, watch
        )
    # A BACKUP that was killed at its very end may be complete: only `.backup` counts.
    if not stored.is_complete(job.store, attempt.key):
        raise client.explained(known.error) if known else _lost(job.carrier)
    written, found = stored.verified(job.store, attempt.key, job.carrier)
    pending = watch.left_out(written.parts) if watch else []
    for mutation in pending:
        job.say(f"{job.carrier}: {NOT_IN_IT.format(mutation)}")
    own = StoredLink(attempt.folder, found.keys, found.size)
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
            "place": place_of(job.store, attempt.key, job.source_settings).shown,
            "chain": [asdict(link) for link in (*attempt.chain, own)],
            **({"pending": pending} if pending else {}),
        },
        program=job.program,
        server=attempt.server,
        host=job.host,
    )


def _watch(attempt: Attempt) -> ChangesWatch | None:
    if attempt.watched is None:
        return None
    return ChangesWatch(attempt.carrier, sql.Relation(*attempt.watched), attempt.since)


def _clear(client: Client, attempt: Attempt, job: DirectJob) -> None:
    _end(client, job.store, attempt)
    attempt.forget(job.journals)


def _end(client: Client, store: Store, attempt: Attempt) -> None:
    """Stop the server's writing, then delete what was written."""
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
