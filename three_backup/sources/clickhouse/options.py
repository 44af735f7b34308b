"""Turns the configuration into parts of statements: places in S3, settings, ON CLUSTER."""

from three_backup.config.settings import Settings
from three_backup.model.objects import ObjectId
from three_backup.s3 import throttle
from three_backup.s3.store import Store
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.relations import ATTEMPTS, BANDWIDTH, Server

_ENOUGH_ATTEMPTS = 10
"""Last some twelve seconds. The server's default, 1000, keeps a statement hanging for hours."""


def place_of(store: Store, key: str, settings: Settings) -> sql.S3Folder:
    """Return the place of a key. A named collection holds the keys of the first store alone."""
    collection = None if store.storage.store else settings.clickhouse_named_collection
    return sql.place(store.storage, key, collection)


def cluster_of(object_id: ObjectId, settings: Settings) -> str:
    """Return the clause that sends a statement to all hosts of the cluster, or an empty text."""
    return sql.on_cluster(object_id.level1 if settings.clickhouse_on_cluster else None)


def s3_settings(server: Server, base: sql.S3Folder | None) -> dict[str, str | int]:
    """Return the settings for BACKUP or RESTORE of a snapshot that builds on base."""
    chosen: dict[str, str | int] = {}
    if ATTEMPTS in server.known:
        chosen[ATTEMPTS] = _ENOUGH_ATTEMPTS
    limit = throttle.rate()
    if limit is not None and BANDWIDTH in server.known:
        chosen[BANDWIDTH] = limit
    if base is not None and base.shown != base.secret:
        chosen["use_same_s3_credentials_for_base_backup"] = 1
    return chosen
