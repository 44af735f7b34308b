"""Explains failures of `lxc` and `zfs`, and says what to do about them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from three_backup.errors import BackupError, UnreachableError

SOCKETS = (
    Path("/var/snap/lxd/common/lxd/unix.socket"),
    Path("/var/lib/lxd/unix.socket"),
)
"""Sockets of LXD: as a snap, as a package."""

_SILENT = re.compile(r"LXD daemon doesn't appear to be started|unix\.socket|connection refused")
_NOT_FOUND = re.compile(r"not found|No such object", re.IGNORECASE)
_NO_DATASET = re.compile(r"dataset does not exist|could not find any snapshots")
_DENIED = re.compile(r"permission denied|must be root|Operation not permitted|/dev/zfs")
_HELD = re.compile(r"dataset is busy|has dependent clones|being held")
_NO_SNAPSHOTS = re.compile(r"""Project "(?P<project>.+)" doesn't allow for snapshot creation""")
_FORBIDDEN = re.compile(r'(?:of|in) project "(?P<project>[^"]+)"')


class NotFoundError(BackupError):
    """A name that LXD does not know."""


class NoDatasetError(BackupError):
    """A dataset or snapshot that ZFS does not know."""


class HeldError(BackupError):
    """A refusal to remove what something else still needs."""


def of_lxc(about: str, text: str, sockets: Sequence[Path] = SOCKETS) -> BackupError:
    """Explain a failure of `lxc`. text: what it printed."""
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
    return BackupError("lxd.failed", f"{about}: {said}", _remedy(said))


def _remedy(said: str) -> str:
    """Return the remedy where a restriction or limit of a project refuses something."""
    if found := _NO_SNAPSHOTS.search(said):
        return f"allow them: lxc project set {quote(found['project'])} restricted.snapshots=allow"
    if found := _FORBIDDEN.search(said):
        shown = f"lxc project show {quote(found['project'])}"
        return f"see what the project forbids ({shown}), or restore into another with --level2"
    return ""


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
    if "out of space" in text:
        return BackupError("lxd.full", f"{about}: {text}", "make room in the pool")
    return BackupError("lxd.zfs", f"{about}: {text}")


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
