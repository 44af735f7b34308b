"""Explains failures of `lxc` and `zfs`, and says what to do about them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from three_backup.errors import BackupError, UnreachableError

SOCKETS = (
    Path("/var/snap/lxd/common/lxd/unix.socket"),
    Path("/var/lib/lxd/unix.socket"),
)
"""Sockets of LXD: as a snap, as a package."""

ROOM = "make room in it or in its pool, or give it a larger size"
"""What to do about a full dataset."""

_SILENT = re.compile(r"LXD daemon doesn't appear to be started|unix\.socket|connection refused")
_NOT_FOUND = re.compile(r"not found|No such object", re.IGNORECASE)
_NO_DATASET = re.compile(r"dataset does not exist|could not find any snapshots")
_DENIED = re.compile(r"permission denied|must be root|Operation not permitted|/dev/zfs")
_HELD = re.compile(r"dataset is busy|has dependent clones|being held")
_OTHERS = re.compile(r"destination has snapshots")
_SIZE = re.compile(r"size is less than current used or reserved space")
_SUSPENDED = re.compile(r"pool I/O is currently suspended")
_OLD = re.compile(r"pool must be upgraded")
_FULL = re.compile(r"out of space|no space left on device|disk quota exceeded", re.IGNORECASE)


class NotFoundError(BackupError):
    """A name that LXD does not know."""


class NoDatasetError(BackupError):
    """A dataset or snapshot that ZFS does not know."""


class OthersError(BackupError):
    """A refusal to receive over snapshots that somebody else made meanwhile."""


class FullError(BackupError):
    """A dataset or a pool without room."""


class SizeError(BackupError):
    """A size that is less than what is there already."""


class HeldError(BackupError):
    """A refusal to remove what something else still needs."""


def of_lxc(about: str, text: str, sockets: Sequence[Path] = SOCKETS) -> BackupError:
    """Explain a failure of `lxc`. text: what it printed."""
    if _SILENT.search(text):
        return _unreachable(about, sockets)
    said = text.partition("Error: ")[2] or text
    if general := _general(about, text, said):
        return general
    if _SIZE.search(text):
        return SizeError("lxd.size", f"{about}: {said}", "give it a larger size")
    if _NOT_FOUND.search(text):
        return NotFoundError(
            "lxd.not_found", f"{about}: {said}", "tb-discover lists what there is"
        )
    return BackupError("lxd.failed", f"{about}: {said}")


def of_zfs(about: str, text: str) -> BackupError:
    """Explain a failure of `zfs`. text: what it printed."""
    if _NO_DATASET.search(text):
        return NoDatasetError("lxd.no_dataset", f"{about}: {text}")
    if _DENIED.search(text):
        return BackupError(
            "lxd.denied",
            f"{about}: {text}",
            "run as root; for backups alone `zfs allow USER send,hold POOL` is enough",
        )
    if _OTHERS.search(text):
        return OthersError(
            "lxd.others",
            f"{about}: {text}",
            "have whoever makes snapshots of all datasets leave out tb-restore-*",
        )
    if _SUSPENDED.search(text):
        return BackupError(
            "lxd.suspended",
            f"{about}: {text}",
            "a device of the pool is gone: see zpool status, then zpool clear",
        )
    if _OLD.search(text):
        return BackupError(
            "lxd.old_pool",
            f"{about}: {text}",
            "upgrade it (zpool upgrade), or restore into another pool with --level1",
        )
    return _general(about, text, text) or BackupError("lxd.zfs", f"{about}: {text}")


def _general(about: str, text: str, said: str) -> BackupError | None:
    """Explain what both `lxc` and `zfs` say."""
    if _FULL.search(text):
        return FullError("lxd.full", f"{about}: {said}", ROOM)
    if _HELD.search(text):
        return HeldError(
            "lxd.held", f"{about}: {said}", "nothing is lost; the next run tries again"
        )
    return None


def _unreachable(about: str, sockets: Sequence[Path]) -> BackupError:
    """Look at the sockets, as `lxc` says the same if LXD is down and if we lack access."""
    there = next((socket for socket in sockets if socket.exists()), None)
    if there is not None and not os.access(there, os.R_OK | os.W_OK):
        return UnreachableError(
            "lxd.denied",
            f"{about}: LXD's socket {there} is not open to this user",
            "run as root, or add the user to the group lxd and log in again",
        )
    return UnreachableError(
        "lxd.down",
        f"{about}: LXD does not answer",
        "start it: systemctl start lxd, or snap start lxd",
    )
