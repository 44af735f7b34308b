"""Builds a daemon's names of an object: in its API, and as datasets of ZFS. Pure.

Names of datasets are built, never parsed: a project may have an underscore in its name.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlencode

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import SnapshotId

CONTAINER = "container"
MACHINE = "vm"
VOLUME = "volume"
TYPES = {CONTAINER: "container", MACHINE: "virtual-machine", VOLUME: "custom"}
"""Types of instances and volumes in the API, by the subtype of objects."""

KINDS = {CONTAINER: "container", MACHINE: "virtual machine"}
"""Subtypes of instances, for people."""

RESTORING = "tb-restore-"
"""Beginning of the names of what a restore has not finished."""

DRILLING = "tb-drill-"
"""Beginning of the names of the datasets that a drill receives into."""

LOOKING = "tb-look-"
"""Beginning of the names of the datasets that a look receives into."""

REPLACED = "tb-replaced-"
"""Beginning of the names of what a restore puts aside while another takes the name."""

CONFIGURATION = "configuration"
"""Name of the stream of a virtual machine's configuration."""

DEFAULT = "default"
"""The project that every LXD has."""

_POINT = "tb-"
_BACKED_UP = ("container", "virtual machine", "filesystem volume", "block volume")
_LONGEST_NAME = 255
"""Bytes of the name of a dataset with that of a snapshot, at most, in ZFS."""

_LONGEST_POINT = len("@snapshot-tb-20261102T031600Z-incr-20261101T031600Z")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)


def check(target: ObjectId) -> None:
    """Raise BackupError if no object of the kind can have the name.

    The daemon would say so only at the end, once everything has been received.
    """
    name, code = target.level3, f"{target.type}.name"
    if target.subtype == VOLUME and (not name or "/" in name):
        raise BackupError(
            code,
            f"{target}: no volume can be named {name!r}",
            "choose a name without a slash",
        )
    if target.subtype != VOLUME and not _HOST_NAME.fullmatch(name):
        raise BackupError(
            code,
            f"{target}: no {target.subtype} can be named {name!r}, since it is a host name too",
            "choose up to 63 letters of ASCII, digits and dashes, no dash first or last",
        )


def datasets(root: str, object_id: ObjectId) -> dict[str, str]:
    """Return the datasets of an object by the names of their streams, data first.

    A virtual machine has two: its disk, and a file system with its configuration. Everything
    else has one. root: the dataset of the object's pool.
    """
    project, name = object_id.level2, object_id.level3
    if object_id.subtype == VOLUME:
        return {STREAM: f"{root}/custom/{project}_{name}"}
    own = name if project == DEFAULT else f"{project}_{name}"
    if object_id.subtype == CONTAINER:
        return {STREAM: f"{root}/containers/{own}"}
    machine = f"{root}/virtual-machines/{own}"
    return {STREAM: f"{machine}.block", CONFIGURATION: machine}


def root(source_type: str, pool: Mapping[str, Any]) -> str:
    """Return the dataset of a pool on ZFS, as the API describes it. Raises BackupError."""
    if "zfs.pool_name" not in pool["config"]:
        raise BackupError(
            f"{source_type}.no_pool",
            f"{source_type}: pool {pool['name']}: it is not said which dataset it is on this host",
            f"see what became of it with `storage show {pool['name']}`",
        )
    return str(pool["config"]["zfs.pool_name"])


def for_member(method: str, path: str) -> bool:
    """Return whether each member of a cluster has an answer of its own to a request."""
    where = path.partition("?")[0]
    return where.startswith("/1.0/storage-pools/") or (method, where) == ("POST", "/1.0/instances")


def why_unsupported(kind: str, zfs_type: str | None, below: Sequence[str]) -> str | None:
    """Explain why an object on ZFS is not backed up; None if it is.

    zfs_type: of the dataset of its data; below: the datasets below its own.
    """
    if kind not in _BACKED_UP:
        return f"{kind}s are not backed up yet"
    if zfs_type == "volume" and kind in ("container", "filesystem volume"):
        return "its files lie in a zvol (zfs.block_mode), and only file systems are backed up yet"
    if below:
        return (
            f"{', '.join(below[:2])}{' and others' if below[2:] else ''} below its dataset would "
            "be left out, as one dataset of an object is backed up; move it elsewhere"
        )
    return None


def check_length(root: str, object_id: ObjectId) -> None:
    """Raise BackupError unless the longest of our points fits behind the names of the datasets.

    A base may fit where an incremental does not, and a restore gives the dataset another name.
    """
    both = (object_id, beside(object_id, REPLACED))
    own = [name for one in both for name in datasets(root, one).values()]
    excess = max(len(name.encode()) for name in own) + _LONGEST_POINT - _LONGEST_NAME
    if excess > 0:
        raise BackupError(
            f"{object_id.type}.name",
            f"{object_id}: the name of its dataset is {excess} bytes too long: ZFS allows "
            f"{_LONGEST_NAME} for it and the name of a snapshot together",
            "rename the object, or its project",
        )


def subtype_of(instance: Mapping[str, Any]) -> str:
    """Return the subtype of an instance that the API lists."""
    return next(subtype for subtype, name in TYPES.items() if name == instance["type"])


def is_ours(name: str) -> bool:
    """Return whether the name is one of restores at work, or of one that was killed."""
    return name.startswith((RESTORING, REPLACED))


def point(snapshot: SnapshotId) -> str:
    """Return the name that the daemon has for a point of ours."""
    return f"{_POINT}{snapshot}"


def zfs_point(dataset: str, snapshot: SnapshotId) -> str:
    """Return the name that ZFS has for a point of ours."""
    return f"{dataset}@snapshot-{point(snapshot)}"


def snapshot_of(name: str) -> SnapshotId | None:
    """Return the snapshot that a point is, by the daemon's name; None if it is not ours."""
    return SnapshotId.parse(name.removeprefix(_POINT)) if name.startswith(_POINT) else None


def snapshot_of_zfs(name: str) -> SnapshotId | None:
    """Return the snapshot that a point is, by ZFS's name with the dataset, else None."""
    _, _, own = name.partition("@snapshot-")
    return snapshot_of(own)


def collection(object_id: ObjectId) -> str:
    """Return the path in the API of the object and those beside it."""
    if object_id.subtype == VOLUME:
        return f"/1.0/storage-pools/{quote(object_id.level1, safe='')}/volumes/custom"
    return "/1.0/instances"


def in_project(path: str, project: str, **options: str) -> str:
    return f"{path}?{urlencode({**options, 'project': project})}"


def url(object_id: ObjectId, *below: str) -> str:
    """Return the path of an object in the API. below: `snapshots` and the name of one, say."""
    names = "/".join(quote(name, safe="") for name in (object_id.level3, *below))
    return in_project(f"{collection(object_id)}/{names}", object_id.level2)


def edit(object_id: ObjectId, remote: str) -> tuple[str, ...]:
    """Return the words of `lxc` that read the configuration of an object from stdin."""
    if object_id.subtype == VOLUME:
        pool, name = object_id.level1, object_id.level3
        return ("storage", "volume", "edit", f"{remote}{pool}", f"custom/{name}")
    return ("config", "edit", f"{remote}{object_id.level3}")


def last_of(path: str) -> str:
    """Return the name of what a path of the API leads to."""
    return unquote(path.partition("?")[0].rpartition("/")[2])


def beside(target: ObjectId, prefix: str) -> ObjectId:
    """Return target under a name that nobody else gives, the same name each time."""
    digest = hashlib.sha256(str(target).encode("utf-8", "surrogatepass")).hexdigest()
    return replace(target, level3=f"{prefix}{digest[:16]}")
