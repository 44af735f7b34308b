"""Builds LXD's names of an object: in its API, and as a dataset of ZFS. Pure.

Names of datasets are built, never parsed: a project may have an underscore in its name.
"""

import hashlib
import re
from dataclasses import replace
from urllib.parse import quote, unquote, urlencode

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import SnapshotId

TYPE = "lxd"
CONTAINER = "container"
VOLUME = "volume"
RESTORING = "tb-restore-"
"""Beginning of the names of what a restore has not finished."""

DRILLING = f"{RESTORING}drill-"
"""Beginning of the names of what a drill restores."""

REPLACED = "tb-replaced-"
"""Beginning of the names of what a restore puts aside while another takes the name."""

DEFAULT = "default"
"""The project that every LXD has."""

_POINT = "tb-"
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)


def check(target: ObjectId) -> None:
    """Raise BackupError if no object of the kind can have the name.

    LXD would say so only at the end, once everything has been received.
    """
    name = target.level3
    if target.subtype == VOLUME and (not name or "/" in name):
        raise BackupError(
            "lxd.name",
            f"{target}: no volume can be named {name!r}",
            "choose a name without a slash",
        )
    if target.subtype == CONTAINER and not _HOST_NAME.fullmatch(name):
        raise BackupError(
            "lxd.name",
            f"{target}: no container can be named {name!r}, since it is a host name too",
            "choose up to 63 letters of ASCII, digits and dashes, no dash first or last",
        )


def dataset(root: str, object_id: ObjectId) -> str:
    """Return the dataset of an object. root: the dataset of its pool."""
    project, name = object_id.level2, object_id.level3
    if object_id.subtype == VOLUME:
        return f"{root}/custom/{project}_{name}"
    return f"{root}/containers/{name if project == DEFAULT else f'{project}_{name}'}"


def files_in_zvol(kind: str, zfs_type: str | None) -> str | None:
    """Explain that files in a zvol are not supported; None for other objects."""
    if zfs_type == "volume" and kind in ("container", "filesystem volume"):
        return "its files lie in a zvol (zfs.block_mode), and only file systems are backed up yet"
    return None


def is_ours(name: str) -> bool:
    """Return whether the name is one of restores at work, or of one that was killed."""
    return name.startswith((RESTORING, REPLACED))


def point(snapshot: SnapshotId) -> str:
    """Return the name that LXD has for a point of ours."""
    return f"{_POINT}{snapshot}"


def zfs_point(dataset: str, snapshot: SnapshotId) -> str:
    """Return the name that ZFS has for a point of ours."""
    return f"{dataset}@snapshot-{point(snapshot)}"


def snapshot_of(name: str) -> SnapshotId | None:
    """Return the snapshot that a point is, by LXD's name; None if the name is not one of ours."""
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
