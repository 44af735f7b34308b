"""Object Lock: until its date, the bucket lets nobody delete the version of a key.

Keys of snapshots and of archived logs are written with a lock where `lock_days` asks for one, but
not those that are rewritten as a matter of course: `owner.json`, `reached.json`, `drills/`,
`keep/` and `check/`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from three_backup.errors import BackupError, UnreachableError
from three_backup.model import layout
from three_backup.model.storage import Storage
from three_backup.s3.failures import explained, place
from three_backup.s3.meanings import DENIED, FAILED, LOCKED, REFUSED

_LOCKED = (layout.DATA, layout.MANIFESTS, layout.WAL)
_REWRITTEN = "/reached.json"
_LOG_MARGIN = timedelta(days=1)
"""By how much a log outlasts snapshots: they need what was logged while they were taken."""

_COMPLIANCE = "COMPLIANCE"
_NEEDS_LOCK = "make a bucket with Object Lock, or take lock_days out of the configuration"
_LOCKLESS = frozenset({REFUSED.code, FAILED.code, LOCKED.code})
"""Codes of what servers answer to a lock where the bucket has none."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The lock of one version of a key."""

    mode: str  # as S3 spells it, GOVERNANCE or COMPLIANCE
    until: datetime  # aware UTC

    def is_weaker(self, than: "Lock") -> bool:
        """Whether somebody may lift it, and nobody the other one."""
        return than.mode == _COMPLIANCE != self.mode

    @property
    def parameters(self) -> dict[str, Any]:
        return {"ObjectLockMode": self.mode, "ObjectLockRetainUntilDate": self.until}


def lasting(storage: Storage) -> timedelta:
    """Return how long snapshots are locked; nothing if they are not."""
    return timedelta(days=storage.lock_days)


def is_locked(storage: Storage, written: datetime) -> bool:
    """Return whether a piece of a log that was written then is locked still, if it ever was."""
    return written + _lasting_of_log(storage) > datetime.now(UTC)


def from_now(storage: Storage) -> Lock:
    """Return the lock that a snapshot gets which is stored now."""
    return _ending(storage, lasting(storage))


@contextmanager
def writing(storage: Storage, key: str, lock: Lock | None = None) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters with which the key is to be written; explain what fails in the block.

    lock: another one than the configuration asks for. Raises BackupError.
    """
    lock = lock or _asked(storage, key)
    try:
        with explained(storage, key):
            yield lock.parameters if lock else {}
    except UnreachableError:
        raise
    except BackupError as error:
        if lock is None:
            raise
        raise of_locked(error, storage, key) from error


def unlocked(storage: Storage, key: str, found: Lock | None) -> BackupError:
    """Return the failure of a key that has not the lock that was asked for."""
    lasts = f"is locked only until {found.until:%Y-%m-%dT%H:%M:%SZ}" if found else "is not locked"
    return BackupError(
        "s3.unlocked",
        f"{place(storage, key)}: it {lasts}, though lock_days: {storage.lock_days} asks for more",
        "the store passes over Object Lock, or hides it from this key, which needs "
        f"s3:PutObjectRetention and s3:GetObjectRetention; else {_NEEDS_LOCK}",
    )


def liftable(storage: Storage, key: str) -> BackupError:
    """Return the failure of a key whose lock can be lifted, though no such was asked for."""
    return BackupError(
        "s3.unlocked",
        f"{place(storage, key)}: whoever may can lift its lock, though lock_mode: compliance asks "
        "for one that nobody can",
        "give the bucket a default retention of compliance, or none",
    )


def of_locked(error: BackupError, storage: Storage, key: str) -> BackupError:
    """Return the failure to write or to extend a lock, with what locks need as the remedy."""
    if error.code == DENIED.code:
        needs = "with lock_days, it needs s3:PutObjectRetention, too"
        return BackupError(error.code, error.message, f"{error.hint}; {needs}")
    if error.code not in _LOCKLESS:
        return error
    reason = error.message.removeprefix(f"{place(storage, key)}: ")
    message = f"{place(storage, key)}: the bucket takes no lock: {reason}"
    return BackupError("s3.no_lock", message, _NEEDS_LOCK)


def _asked(storage: Storage, key: str) -> Lock | None:
    top = key.partition("/")[0]
    if not storage.lock_days or top not in _LOCKED or key.endswith(_REWRITTEN):
        return None
    return _ending(storage, _lasting_of_log(storage) if top == layout.WAL else lasting(storage))


def _lasting_of_log(storage: Storage) -> timedelta:
    return lasting(storage) + _LOG_MARGIN if storage.lock_days else timedelta()


def _ending(storage: Storage, after: timedelta) -> Lock:
    return Lock(storage.lock_mode.upper(), datetime.now(UTC).replace(microsecond=0) + after)
