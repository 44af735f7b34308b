"""What `lxc` and `zfs` say when they fail, and what to do about it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from three_backup.errors import BackupError, UnreachableError

SOCKETS = (
    Path("/var/snap/lxd/common/lxd/unix.socket"),
    Path("/var/lib/lxd/unix.socket"),
)
"""Where LXD listens: as a snap, as a package."""

_SILENT = re.compile(r"LXD daemon doesn't appear to be started|unix\.socket|connection refused")
_NOT_FOUND = re.compile(r"not found|No such object", re.IGNORECASE)
_NO_DATASET = re.compile(r"dataset does not exist|could not find any snapshots")
_DENIED = re.compile(r"permission denied|must be root|Operation not permitted|/dev/zfs")
_HELD = re.compile(r"dataset is busy|has dependent clones|being held")


class NotFoundError(BackupError):
    """LXD has nothing of that name."""


class NoDatasetError(BackupError):
    """ZFS has nothing of that name."""


class HeldError(BackupError):
    """Somebody needs it still."""


def of_lxc(about: str, text: str, sockets: Sequence[Path] = SOCKETS) -> BackupError:
    """text: what `lxc` said."""
    if _SILENT.search(text):
        return _unreachable(about, sockets)
    said = text.partition("Error: ")[2] or text
    if _HELD.search(text):
        return HeldError(
            "lxd.held", f"{about}: {said}", "nothing is lost; the next run tries again"
        )
    if _NOT_FOUND.search(text):
        return NotFoundError(
            "lxd.not_found", f"{about}: {said}", "tb-discover lists what there is"
        )
    return BackupError("lxd.failed", f"{about}: {said}")


def of_zfs(about: str, text: str) -> BackupError:
    """text: what `zfs` said."""
    if _NO_DATASET.search(text):
        return NoDatasetError("lxd.no_dataset", f"{about}: {text}")
    if _DENIED.search(text):
        return BackupError(
            "lxd.denied",
            f"{about}: {text}",
            "run as root; for backups alone `zfs allow USER send,hold POOL` is enough",
        )
    if "out of space" in text:
        return BackupError("lxd.full", f"{about}: {text}", "make room in the pool")
    return BackupError("lxd.zfs", f"{about}: {text}")


def _unreachable(about: str, sockets: Sequence[Path]) -> BackupError:
    """`lxc` says the same whether LXD is down or we may not speak to it."""
    there = next((one for one in sockets if one.exists()), None)
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
