"""Checks a ClickHouse server: backs up its smallest object to S3 and deletes that backup."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from secrets import token_hex

from three_backup.errors import BackupError
from three_backup.model.findings import Finding, good, note, tried
from three_backup.s3.store import Store
from three_backup.screen.formats import counted, size
from three_backup.sources.clickhouse import operation, sql
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.options import cluster_of, place_of, s3_settings
from three_backup.sources.clickhouse.relations import (
    TYPE,
    Listed,
    Server,
    all_relations,
    read_server,
)
from three_backup.sources.jobs import CheckJob

_LARGEST = 100_000_000
"""Bytes; no larger object is backed up for a mere check."""


def check(job: CheckJob, store: Store | None, folder: str) -> Iterator[Finding]:
    client = connect(TYPE, store.storage if store else None)
    server = read_server(client, job.source_settings)
    found = sorted(all_relations(client, job.source_settings), key=lambda relation: relation.size)
    yield good(TYPE, f"{server.version} answers, with {counted(len(found), 'object')}")
    if store is None:
        yield note("backups", "ClickHouse is backed up to S3 only", "set s3_bucket")
    elif not found or found[0].size > _LARGEST:
        yield note("backups", "there is nothing small to try a backup of")
    else:
        yield tried("backups", partial(_backed_up, client, job, store, folder, found[0], server))


def _backed_up(
    client: Client, job: CheckJob, store: Store, folder: str, of: Listed, server: Server
) -> str:
    """Back up an object as tb-snapshot does, so that the same rights are needed."""
    object_id = of.object_id(server.cluster)
    operation_id = f"tb-check-{token_hex(8)}"
    place = place_of(store, f"{folder}{operation_id}", job.source_settings)
    settings = {"id": operation_id, **s3_settings(server, None)}
    everywhere = cluster_of(object_id, job.source_settings)
    try:
        client.ask(sql.backup(sql.relation(object_id), place, settings, None, everywhere))
        begun = operation.known(client, str(object_id), operation_id)
        done = operation.awaited(
            client, str(object_id), begun, job.source_settings, lambda _: None
        )
        if not done.done:
            raise client.explained(done.error)
        stored = sum(key.size for key in store.all_keys(f"{folder}{operation_id}/"))
    finally:
        with suppress(BackupError):  # the check of S3 reports what S3 forbids
            store.delete_folder(f"{folder}{operation_id}/")
    if not stored:
        raise BackupError(
            "clickhouse.elsewhere",
            f"{TYPE}: the server wrote its backup somewhere else than into {store.place()}",
            "correct the url of clickhouse_named_collection, or s3_endpoint",
        )
    return f"the server wrote {object_id} to S3, {size(stored)}"
