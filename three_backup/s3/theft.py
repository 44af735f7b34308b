"""Finds out what somebody who stole the access key of this host could do to the backups.

It does so to keys of its own below `check/`, and leaves none behind.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.findings import Finding, good, note
from three_backup.s3.failures import explained
from three_backup.s3.store import Store

SUBJECT = "stolen keys"
_FIRST, _SECOND = b"first\n", b"second\n"


@dataclass(frozen=True, slots=True)
class _Power:
    """What the access key may do."""

    overwrites: bool
    deletes: bool
    old_version: str | None  # of what was overwritten; None: the bucket keeps none
    deletes_versions: bool
    beside: int  # the prefixes beside ours that can be listed


def theft(store: Store, key: str) -> Iterator[Finding]:
    """Tell what a thief could do. key: one to try it on. Raises BackupError."""
    power = _power(store, key)
    can = [
        *(["delete"] if power.deletes else []),
        *(["overwrite"] if power.overwrites else []),
    ]
    beside = f", and see {power.beside} other prefixes" if power.beside else ""
    if not can:
        yield good(
            SUBJECT, f"whoever steals them can read and add backups, not destroy any{beside}"
        )
        return
    kept = power.old_version is not None and not power.deletes_versions
    if kept:
        yield note(
            SUBJECT,
            f"whoever steals them can {' and '.join(can)} backups, but not the older versions "
            f"that the bucket keeps{beside}",
            "keep the versions for as long as an attack may go unnoticed",
        )
        return
    versions = ", with all older versions" if power.old_version is not None else ""
    yield note(
        SUBJECT,
        f"whoever steals them can {' and '.join(can)} all backups{versions}{beside}",
        "have the bucket keep versions that this key may not delete, or copy to a store whose "
        "keys are not on this host",
    )


def _power(store: Store, key: str) -> _Power:
    store.write(key, _FIRST)
    old_version = _version(store, key)
    overwrites = _may(lambda: store.write(key, _SECOND)) and store.read(key) == _SECOND
    deletes = _may(lambda: store.delete([key])) and store.size(key) is None
    return _Power(
        overwrites=overwrites,
        deletes=deletes,
        old_version=old_version,
        deletes_versions=old_version is not None and _deletes_version(store, key, old_version),
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
