"""How LXD names an object: in its API, and as a dataset of ZFS. Pure.

Names of datasets are made, never taken apart: a project may have an underscore in its name.
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
"""How the names begin of what a restore has not finished."""

DRILLING = f"{RESTORING}drill-"
"""How the names begin of what is brought back to prove that it can be."""

REPLACED = "tb-replaced-"
"""How the names begin of what a restore puts aside while another takes its name."""

_DEFAULT = "default"
_POINT = "tb-"
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)


def check(target: ObjectId) -> None:
    """Raises BackupError where no object of the kind can have the name: LXD would say so last,
    once everything has been received."""
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
    """root: the dataset of the pool."""
    project, name = object_id.level2, object_id.level3
    if object_id.subtype == VOLUME:
        return f"{root}/custom/{project}_{name}"
    return f"{root}/containers/{name if project == _DEFAULT else f'{project}_{name}'}"


def files_in_zvol(kind: str, type: str | None) -> str | None:
    """Why it is not supported: a container's files, or a volume's, in a dataset of blocks."""
    if type == "volume" and kind in ("container", "filesystem volume"):
        return "its files lie in a zvol (zfs.block_mode), and only file systems are backed up yet"
    return None


def point(snapshot: SnapshotId) -> str:
    """The name of a snapshot of ours, as LXD knows it."""
    return f"{_POINT}{snapshot}"


def zfs_point(dataset: str, snapshot: SnapshotId) -> str:
    """The same, as ZFS knows it."""
    return f"{dataset}@snapshot-{point(snapshot)}"


def snapshot_of(name: str) -> SnapshotId | None:
    """The snapshot that a point is; None where the name is not one that we give."""
    return SnapshotId.parse(name.removeprefix(_POINT)) if name.startswith(_POINT) else None


def snapshot_of_zfs(name: str) -> SnapshotId | None:
    """name: dataset and snapshot."""
    _, _, own = name.partition("@snapshot-")
    return snapshot_of(own)


def collection(object_id: ObjectId) -> str:
    """Where the API has the object and those beside it."""
    if object_id.subtype == VOLUME:
        return f"/1.0/storage-pools/{quote(object_id.level1, safe='')}/volumes/custom"
    return "/1.0/instances"


def in_project(path: str, project: str, **options: str) -> str:
    return f"{path}?{urlencode({**options, 'project': project})}"


def url(object_id: ObjectId, *below: str) -> str:
    """below: `snapshots` and the name of one, say."""
    names = "/".join(quote(name, safe="") for name in (object_id.level3, *below))
    return in_project(f"{collection(object_id)}/{names}", object_id.level2)


def last_of(path: str) -> str:
    """The name of what a path of the API leads to."""
    return unquote(path.partition("?")[0].rpartition("/")[2])


def beside(target: ObjectId, prefix: str) -> ObjectId:
    """A name in the place of target that nobody else gives, the same each time."""
    digest = hashlib.sha256(str(target).encode("utf-8", "surrogatepass")).hexdigest()
    return replace(target, level3=f"{prefix}{digest[:16]}")
