"""Requests about Object Lock, as functions of a store."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from functools import partial

from three_backup.errors import BackupError, UnreachableError
from three_backup.s3.failures import MissingError, explained
from three_backup.s3.lock import Lock, of_locked
from three_backup.s3.store import Store

_THREADS = 16
"""Requests at the same time; they carry no bytes."""


def lock_of(store: Store, key: str) -> Lock | None:
    """Return the lock of a key; None if it has none, if we may not see it, or if it is gone."""
    try:
        with explained(store.storage, key):
            told = store.client.head_object(**store.names(key))
    except MissingError:
        return None
    mode, until = told.get("ObjectLockMode"), told.get("ObjectLockRetainUntilDate")
    return Lock(str(mode), until.astimezone(UTC)) if mode and until else None


def locks_of(store: Store, keys: Iterable[str]) -> list[Lock | None]:
    """Return the lock of each key, in order; several are asked for at a time."""
    with _pool() as pool:
        return list(pool.map(partial(lock_of, store), keys))


def extend(store: Store, keys: Iterable[str], lock: Lock) -> None:
    """Lock the newest version of each key until then; several at a time."""

    def put(key: str) -> None:
        retention = {"Mode": lock.mode, "RetainUntilDate": lock.until}
        try:
            with explained(store.storage, key):
                store.client.put_object_retention(**store.names(key), Retention=retention)
        except UnreachableError:
            raise
        except BackupError as error:
            raise of_locked(error, store.storage, key) from error

    with _pool() as pool:
        for _ in pool.map(put, keys):
            pass


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="lock")
