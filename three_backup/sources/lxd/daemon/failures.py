"""Explains failures of a daemon's client and of `zfs`, and says what to do about them."""

import os
import re
from shlex import quote

from three_backup.errors import BackupError, UnreachableError
from three_backup.sources.lxd.daemon.daemons import Daemon

ROOM = "make room in it or in its pool, or give it a larger size"
"""The remedy for a full dataset."""

_SILENT = re.compile(r"daemon doesn't appear to be started|unix\.socket|connection refused")
_NOT_FOUND = re.compile(r"not found|No such object", re.IGNORECASE)
_NO_DATASET = re.compile(r"dataset does not exist|could not find any snapshots")
_DENIED = re.compile(r"permission denied|must be root|Operation not permitted|/dev/zfs")
_OTHERS = re.compile(r"destination has snapshots")
_SIZE = re.compile(r"size is less than current used or reserved space")
_FULL = re.compile(r"out of space|no space left on device|disk quota exceeded", re.IGNORECASE)
_UNKNOWN_KEY = re.compile(r'Unknown configuration key:? "?([^\s"]+)')
_HELD = re.compile(r"dataset is busy|has dependent clones|being held")
_NO_SNAPSHOTS = re.compile(r"""Project "(?P<project>.+)" doesn't allow for snapshot creation""")
_FORBIDDEN = re.compile(r'(?:of|in) project "(?P<project>[^"]+)"')
_OF_POOLS = (
    (
        re.compile(r"pool I/O is currently suspended"),
        "suspended",
        "a device of the pool is gone: see zpool status, then zpool clear",
    ),
    (
        re.compile(r"pool must be upgraded"),
        "old_pool",
        "upgrade it (zpool upgrade), or restore into another pool with --level1",
    ),
)
"""Failures of pools: the words of ZFS, the code of the error, and the remedy."""


class NotFoundError(BackupError):
    """A name that the daemon does not know."""


class NoDatasetError(BackupError):
    """A dataset or snapshot that ZFS does not know."""


class NotZfsError(BackupError):
    """A pool that is not on ZFS."""


class OthersError(BackupError):
    """A refusal to receive over snapshots that somebody else made meanwhile."""


class FullError(BackupError):
    """A dataset or a pool without room."""


class SizeError(BackupError):
    """A size that is less than what is there already."""


class HeldError(BackupError):
    """A refusal to remove what something else still needs."""


def of_client(daemon: Daemon, about: str, text: str) -> BackupError:
    """Explain a failure of a daemon's client. text: what it printed."""
    if _SILENT.search(text):
        return _unreachable(daemon, about)
    said = text.partition("Error: ")[2] or text
    if general := _general(daemon, about, text, said):
        return general
    if _NOT_FOUND.search(text):
        return NotFoundError(
            f"{daemon.type}.not_found", f"{about}: {said}", "tb-discover lists what there is"
        )
    return BackupError(f"{daemon.type}.failed", f"{about}: {said}", _remedy(daemon, said))


def _remedy(daemon: Daemon, said: str) -> str:
    """Return the remedy where a restriction or limit of a project refuses something."""
    project = f"{daemon.client} project"
    if found := _NO_SNAPSHOTS.search(said):
        return f"allow them: {project} set {quote(found['project'])} restricted.snapshots=allow"
    if found := _FORBIDDEN.search(said):
        shown = f"{project} show {quote(found['project'])}"
        return f"see what the project forbids ({shown}), or restore into another with --level2"
    return ""


def of_zfs(daemon: Daemon, about: str, text: str) -> BackupError:
    """Explain a failure of `zfs`. text: what it printed."""
    if _NO_DATASET.search(text):
        return NoDatasetError(f"{daemon.type}.no_dataset", f"{about}: {text}")
    if _DENIED.search(text):
        return BackupError(
            f"{daemon.type}.denied",
            f"{about}: {text}",
            "run as root; for backups alone `zfs allow USER send,hold POOL` is enough",
        )
    if "embedded data stream feature" in text:
        return BackupError(
            f"{daemon.type}.embedded",
            f"{about}: older versions took the snapshot so that no encrypted pool receives it",
            "restore it into a pool that is not encrypted (--level1), and move it from there: "
            f"{daemon.client} move, {daemon.client} storage volume move",
        )
    if _OTHERS.search(text):
        return OthersError(
            f"{daemon.type}.others",
            f"{about}: {text}",
            "have whoever makes snapshots of all datasets leave out tb-restore-*",
        )
    for pattern, code, hint in _OF_POOLS:
        if pattern.search(text):
            return BackupError(f"{daemon.type}.{code}", f"{about}: {text}", hint)
    general = _general(daemon, about, text, text)
    return general or BackupError(f"{daemon.type}.zfs", f"{about}: {text}")


def _general(daemon: Daemon, about: str, text: str, said: str) -> BackupError | None:
    """Explain what both the client and `zfs` say."""
    if _FULL.search(text):
        return FullError(f"{daemon.type}.full", f"{about}: {said}", ROOM)
    if _SIZE.search(text):
        return SizeError(f"{daemon.type}.size", f"{about}: {said}", "give it a larger size")
    if _HELD.search(text):
        return HeldError(
            f"{daemon.type}.held",
            f"{about}: {said}",
            "nothing is lost; the next run tries again",
        )
    return None


def unknown_key(text: str) -> str:
    """Return the key that the daemon does not know in a configuration, empty if it is not that."""
    found = _UNKNOWN_KEY.search(text)
    return found[1] if found else ""


def _unreachable(daemon: Daemon, about: str) -> BackupError:
    """Look at the sockets: if we lack access, the client says that its daemon is down."""
    there = next((socket for socket in daemon.sockets if socket.exists()), None)
    if there is not None and not os.access(there, os.R_OK | os.W_OK):
        return UnreachableError(
            f"{daemon.type}.denied",
            f"{about}: {daemon.name}'s socket {there} is not open to this user",
            f"run as root, or add the user to the group {daemon.group} and log in again",
        )
    return UnreachableError(
        f"{daemon.type}.down",
        f"{about}: {daemon.name} does not answer",
        f"start it: {daemon.starting}",
    )
