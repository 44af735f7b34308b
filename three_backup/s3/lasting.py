"""Finds out how long a key lasts: whether the bucket locks it, and what stays of it afterwards."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.findings import Finding, good, note
from three_backup.s3 import locking
from three_backup.s3.client import content_md5
from three_backup.s3.failures import explained
from three_backup.s3.lock import Lock, from_now, unlocked, writing
from three_backup.s3.store import Store

_BODY = b"locked\n"
_MD5 = hashlib.md5(_BODY, usedforsecurity=False).digest()
MOMENT = timedelta(minutes=1)
"""How long a key of the check is locked."""

_RULE = "let a lifecycle rule of the bucket expire noncurrent versions, see three_backup(7)"


def lock(store: Store, key: str) -> Iterator[Finding]:
    """Tell whether the bucket locks as lock_days asks. key: stays locked for a minute.

    Raises BackupError if it does not.
    """
    storage = store.storage
    if not storage.lock_days:
        return
    asked = locked_for_a_moment(store, key)
    _require(store, key, asked)
    later = replace(asked, until=asked.until + timedelta(seconds=1))
    locking.extend(store, [key], later)
    _require(store, key, later)
    yield good("lock", f"the bucket locks what is written, for {storage.lock_days} days")


def locked_for_a_moment(store: Store, key: str) -> Lock:
    """Write the key with a lock that ends in a minute, and return that."""
    now = from_now(replace(store.storage, lock_days=0))
    asked = replace(now, until=now.until + MOMENT)
    with writing(store.storage, key, asked) as parameters:
        named = {**store.names(key), "ContentMD5": content_md5(_MD5)}
        store.client.put_object(**named, Body=_BODY, **parameters)
    return asked


def versions(store: Store, key: str) -> Iterator[Finding]:
    """Tell what of a key stays behind its deletion; nothing if nothing does. key: one is there."""
    with explained(store.storage, key):
        told = store.client.head_object(**store.names(key))
    until = told.get("ObjectLockRetainUntilDate")
    if until is not None:
        yield note(
            "lock",
            f"what is written is locked until {until:%Y-%m-%dT%H:%M:%SZ}: its deletion hides "
            "it, and frees no room before",
            "shorten the default retention of the bucket if that is too long",
        )
    if told.get("VersionId") not in (None, "null"):
        yield _expiry(store)


def _require(store: Store, key: str, asked: Lock) -> None:
    found = locking.lock_of(store, key)
    if found is None or found.until < asked.until:
        raise unlocked(store.storage, key, found)


def _expiry(store: Store) -> Finding:
    """Tell how long versions stay that were deleted or overwritten."""
    kept = "the bucket keeps every version: what is deleted stays"
    try:
        days = _days(store)
    except UnreachableError:
        raise
    except BackupError:
        return note(
            "versions",
            f"{kept}, and is billed, unless a lifecycle rule removes it, which this key may not "
            "see",
            f"allow s3:GetLifecycleConfiguration; {_RULE}",
        )
    if days is None:
        return note("versions", f"{kept}, and is billed", _RULE)
    return good("versions", f"{kept} for {days} days, then a lifecycle rule removes it")


def _days(store: Store) -> int | None:
    """Return after how many days a rule removes noncurrent versions; None if none does."""
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    bucket = {"Bucket": store.storage.bucket}
    with explained(store.storage):
        try:
            answer = store.client.get_bucket_lifecycle_configuration(**bucket)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
                return None
            raise
    start = store.names("")["Key"]
    found = (_of_rule(rule, start) for rule in answer.get("Rules", ()))
    return min((days for days in found if days is not None), default=None)


def _of_rule(rule: Mapping[str, Any], start: str) -> int | None:
    """Return the days of a rule for all keys below the start; None if it is none."""
    chosen = rule.get("Filter", {})
    prefix = chosen.get("Prefix", rule.get("Prefix", "")) if set(chosen) <= {"Prefix"} else None
    if rule.get("Status") != "Enabled" or prefix is None or not start.startswith(prefix):
        return None
    days = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    return None if days is None else int(days)
