"""ZFS's encryption: what was sent raw arrives locked, and gets the key of its new pool."""

from dataclasses import dataclass

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.lxd.daemon.client import Client

_BY_HAND = ("prompt", "none", "-")


@dataclass(frozen=True, slots=True)
class Lock:
    """The encryption of a pool."""

    root: str  # the dataset that the key belongs to
    location: str | None  # the URL of the key, None if somebody types it


def lock_of(client: Client, dataset: str, about: str) -> Lock | None:
    """Return the lock of a pool's dataset; None if it is not encrypted."""
    root = _value(client, "encryptionroot", dataset, about)
    if root == "-":
        return None
    location = _value(client, "keylocation", root, about)
    return Lock(root, None if location in _BY_HAND else location)


def check(lock: Lock | None, target: ObjectId) -> None:
    """Raise BackupError if what was sent raw could not be opened."""
    if lock is None:
        raise BackupError(
            f"{target.type}.encrypted",
            f"{target}: the snapshot is encrypted, and the pool is not",
            "restore into a pool with the same key, --level1 names it",
        )
    if lock.location is None:
        raise BackupError(
            f"{target.type}.key",
            f"{target}: the key of {lock.root} is typed by hand, and cannot be loaded",
            f"put it into a file meanwhile: zfs set keylocation=file:///... {lock.root}",
        )


def unlock(client: Client, lock: Lock, dataset: str, about: str) -> None:
    """Load the key of a received dataset and let it inherit the pool's key from then on."""
    client.zfs(("load-key", "-L", str(lock.location), dataset), about)
    client.zfs(("change-key", "-i", dataset), about)


def _value(client: Client, name: str, dataset: str, about: str) -> str:
    ((value,),) = client.zfs(("get", "-Hp", "-o", "value", name, dataset), about)
    return value
