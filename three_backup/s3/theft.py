"""Finds out what somebody who stole the access key of this host could do to the backups.

It does so to keys of its own below `check/`, and leaves none behind, but for a version that is
locked for a minute where `lock_days` locks at all.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.findings import Finding, good, note
from three_backup.s3 import lasting
from three_backup.s3.failures import explained
from three_backup.s3.lock import Lock
from three_backup.s3.store import Store

SUBJECT = "stolen keys"
_FIRST, _SECOND = b"first\n", b"second\n"

_KEEP_LOCKS = "take s3:BypassGovernanceRetention from this key, or write lock_mode: compliance"
_KEEP_VERSIONS = (
    "have the bucket keep versions that this key may not delete, or lock them by lock_days, or "
    "copy to a store whose keys are not on this host"
)
_KEEP_RULES = "take s3:PutBucketVersioning and s3:PutLifecycleConfiguration from this key"
_KEEP_LONG = (
    "keep the versions for as long as an attack may go unnoticed; --as-of brings them back"
)


@dataclass(frozen=True, slots=True)
class _Power:
    """The power of an access key over what is stored."""

    overwrites: bool
    deletes: bool
    old_version: str | None  # of what was overwritten; None: the bucket keeps none
    deletes_versions: bool
    locks: bool  # what is written, by lock_days
    lifts_locks: bool
    keeps_versions: bool  # it may say whether the bucket keeps versions
    beside: int  # the prefixes beside ours that can be listed


def theft(store: Store, key: str) -> Iterator[Finding]:
    """Tell what a thief could do. key: one to try it on. Raises BackupError."""
    power = _power(store, key)
    can = [
        *(["delete"] if power.deletes else []),
        *(["overwrite"] if power.overwrites else []),
    ]
    beside = f", and see {power.beside} other prefixes" if power.beside else ""
    acts = f"whoever steals them can {' and '.join(can)}"
    if not can:
        sentence = "whoever steals them can read and add backups, not destroy any"
        yield good(SUBJECT, f"{sentence}{beside}")
    elif power.locks and not power.lifts_locks:
        days = f"{store.storage.lock_days} days"
        yield good(
            SUBJECT,
            f"{acts} backups, which hides them; for {days} they stay locked, and --as-of brings "
            f"them back{beside}",
        )
    else:
        sentence, remedy = _loss(power)
        yield note(SUBJECT, f"{acts} {sentence}{beside}", remedy)


def _loss(power: _Power) -> tuple[str, str]:
    """Return what of the backups is lost, and the remedy."""
    if power.lifts_locks:
        return "all backups, and lift their locks", _KEEP_LOCKS
    if power.old_version is None:
        return "all backups", _KEEP_VERSIONS
    if power.deletes_versions:
        return "all backups, with all older versions", _KEEP_VERSIONS
    if power.keeps_versions:
        sentence = "backups, and change how the bucket keeps versions"
        return f"{sentence}: a rule of theirs could expire these within days", _KEEP_RULES
    return "backups, but not the older versions that the bucket keeps", _KEEP_LONG


def _power(store: Store, key: str) -> _Power:
    store.write(key, _FIRST)
    old_version = _version(store, key)
    overwrites = _may(lambda: store.write(key, _SECOND)) and store.read(key) == _SECOND
    deletes = _may(lambda: store.delete([key])) and store.size(key) is None
    lock = _locked(store, key)
    return _Power(
        overwrites=overwrites,
        deletes=deletes,
        old_version=old_version,
        deletes_versions=old_version is not None and _deletes_version(store, key, old_version),
        locks=lock is not None,
        lifts_locks=lock is not None and _lifts(store, key, lock),
        keeps_versions=old_version is not None and _keeps_versions(store),
        beside=_beside(store),
    )


def _version(store: Store, key: str) -> str | None:
    with explained(store.storage, key):
        told = store.client.head_object(**store.names(key)).get("VersionId")
    return None if told in (None, "null") else str(told)


def _deletes_version(store: Store, key: str, version: str) -> bool:
    """Return whether a version is gone that was told to go, even if the bucket locks it."""

    def delete() -> None:
        with explained(store.storage, key):
            store.client.delete_object(
                **store.names(key), VersionId=version, BypassGovernanceRetention=True
            )

    return _may(delete) and not _may(lambda: _look(store, key, version))


def _locked(store: Store, key: str) -> Lock | None:
    """Lock the key for a moment, if lock_days locks at all; None if that fails, as another step
    of the check tells.
    """
    if not store.storage.lock_days:
        return None
    try:
        return lasting.locked_for_a_moment(store, key)
    except UnreachableError:
        raise
    except BackupError:
        return None


def _lifts(store: Store, key: str, lock: Lock) -> bool:
    """Return whether the lock is ended or made shorter; no lock of compliance ever is."""
    if store.storage.lock_mode != "governance":
        return False
    version = _version(store, key)
    shorter = {"Mode": lock.mode, "RetainUntilDate": lock.until - lasting.MOMENT / 2}

    def shorten() -> None:
        with explained(store.storage, key):
            store.client.put_object_retention(
                **store.names(key), Retention=shorter, BypassGovernanceRetention=True
            )

    return _may(shorten) or (version is not None and _deletes_version(store, key, version))


def _keeps_versions(store: Store) -> bool:
    """Return whether the key may say that the bucket keeps versions, as it does.

    That changes nothing. Whether it may write a lifecycle, too, cannot be tried like that.
    """
    bucket = {"Bucket": store.storage.bucket}
    try:
        with explained(store.storage):
            status = store.client.get_bucket_versioning(**bucket).get("Status")
    except UnreachableError:
        raise
    except BackupError:
        return False

    def say_it_again() -> None:
        with explained(store.storage):
            store.client.put_bucket_versioning(
                **bucket, VersioningConfiguration={"Status": status}
            )

    return status == "Enabled" and _may(say_it_again)


def _look(store: Store, key: str, version: str) -> None:
    with explained(store.storage, key):
        store.client.head_object(**store.names(key), VersionId=version)


def _may(act: Callable[[], object]) -> bool:
    try:
        act()
    except UnreachableError:
        raise
    except BackupError:
        return False
    return True


def _beside(store: Store) -> int:
    """Return how many other prefixes can be seen beside ours."""
    own = store.storage.prefix
    above, _, name = own.rpartition("/")
    with suppress(BackupError):
        beside = Store(replace(store.storage, prefix=above, foreign=True))
        return len([folder for folder in beside.folders("") if folder != name])
    return 0
