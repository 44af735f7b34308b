"""Builds a daemon's names of an object: in its API, and as datasets of ZFS. Pure.

Names of datasets are built, never parsed: a project may have an underscore in its name.
"""

import hashlib
import re
from dataclasses import replace
from urllib.parse import quote, unquote, urlencode

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import SnapshotId

CONTAINER = "container"
MACHINE = "vm"
VOLUME = "volume"
TYPES = {CONTAINER: "container", MACHINE: "virtual-machine", VOLUME: "custom"}
"""What the API calls the type of an instance or volume, by the subtype of objects."""

KINDS = {CONTAINER: "container", MACHINE: "virtual machine"}
"""Subtypes of instances, for people."""

RESTORING = "tb-restore-"
"""Beginning of the names of what a restore has not finished."""

DRILLING = "tb-drill-"
"""Beginning of the names of the datasets that a drill receives into."""

REPLACED = "tb-replaced-"
"""Beginning of the names of what a restore puts aside while another takes the name."""

CONFIGURATION = "configuration"
"""Name of the stream of a virtual machine's configuration."""

_DEFAULT = "default"
_POINT = "tb-"
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
    own = name if project == _DEFAULT else f"{project}_{name}"
    if object_id.subtype == CONTAINER:
        return {STREAM: f"{root}/containers/{own}"}
    machine = f"{root}/virtual-machines/{own}"
    return {STREAM: f"{machine}.block", CONFIGURATION: machine}


def files_in_zvol(kind: str, zfs_type: str | None) -> str | None:
    """Explain that files in a zvol are not supported; None for other objects."""
    if zfs_type == "volume" and kind in ("container", "filesystem volume"):
        return "its files lie in a zvol (zfs.block_mode), and only file systems are backed up yet"
    return None


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


def last_of(path: str) -> str:
    """Return the name of what a path of the API leads to."""
    return unquote(path.partition("?")[0].rpartition("/")[2])


def beside(target: ObjectId, prefix: str) -> ObjectId:
    """Return target under a name that nobody else gives, the same name each time."""
    digest = hashlib.sha256(str(target).encode("utf-8", "surrogatepass")).hexdigest()
    return replace(target, level3=f"{prefix}{digest[:16]}")
