"""ZFS's encryption: what was sent raw comes back locked, and gets the key of the pool it is in."""

from dataclasses import dataclass

from three_backup.errors import BackupError
from three_backup.sources.lxd import client

_BY_HAND = ("prompt", "none", "-")


@dataclass(frozen=True, slots=True)
class Lock:
    """Of a pool. location: the URL of its key, None where somebody types it."""

    root: str
    location: str | None


def lock_of(dataset: str, about: str) -> Lock | None:
    """None where the dataset of a pool is not encrypted."""
    root = _value("encryptionroot", dataset, about)
    if root == "-":
        return None
    location = _value("keylocation", root, about)
    return Lock(root, None if location in _BY_HAND else location)


def check(lock: Lock | None, about: str) -> None:
    """Raises BackupError where what was sent raw could not be opened."""
    if lock is None:
        raise BackupError(
            "lxd.encrypted",
            f"{about}: the snapshot is encrypted, and the pool is not",
            "restore into a pool with the same key, --level1 names it",
        )
    if lock.location is None:
        raise BackupError(
            "lxd.key",
            f"{about}: the key of {lock.root} is typed by hand, and cannot be loaded",
            f"put it into a file meanwhile: zfs set keylocation=file:///... {lock.root}",
        )


def unlock(lock: Lock, dataset: str, about: str) -> None:
    """The dataset is one of the pool's, with its key."""
    client.zfs(("load-key", "-L", str(lock.location), dataset), about)
    client.zfs(("change-key", "-i", dataset), about)


def _value(name: str, dataset: str, about: str) -> str:
    ((value,),) = client.zfs(("get", "-Hp", "-o", "value", name, dataset), about)
    return value
