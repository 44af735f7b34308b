"""Makes, lists, sends and removes the points of an object: snapshots that LXD knows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase

from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.base import PointHeldError
from three_backup.sources.lxd import client, names
from three_backup.sources.lxd.failures import (
    FullError,
    HeldError,
    NoDatasetError,
    NotFoundError,
)

_LIST = ("list", "-Hp", "-d", "1", "-t", "filesystem,volume,snapshot")
_COLUMNS = ("-o", "name,guid,referenced,encryption,type,available,keystatus,readonly")
_SEND = ("send", "-c", "-L", "-e")
"""Sends blocks as they lie on disk: compressed, large, embedded."""

_ROOM = 1 << 22
SIZE_CHANGED = "its size is {} bytes now, since what came back did not fit into the one it had"
"""What is told of an object that got its size from sufficient_size()."""

_NO_EXPIRY = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class State:
    """The dataset of an object with our points."""

    dataset: str
    type: str  # filesystem, or volume for a zvol
    guid: str  # of the dataset, new after a move
    encrypted: bool  # with ZFS's own encryption
    available: int  # bytes that can still be written
    locked: bool  # encrypted, and its key is not loaded
    readonly: bool
    below: Sequence[str]  # the datasets below it
    points: Mapping[SnapshotId, str]  # guids of our points
    sizes: Mapping[SnapshotId, int]  # referenced bytes of our points


@dataclass(frozen=True, slots=True)
class Sent:
    """A stream that `zfs send` makes."""

    dataset: str
    snapshot: SnapshotId
    parent: SnapshotId | None = None  # None sends all of the snapshot
    raw: bool = False  # sends encrypted blocks as they lie on disk

    def argv(self, *options: str) -> tuple[str, ...]:
        raw = ("-w",) if self.raw else ()
        since = ("-i", names.zfs_point(self.dataset, self.parent)) if self.parent else ()
        point = names.zfs_point(self.dataset, self.snapshot)
        return (*_SEND, *raw, *options, *since, point)


def state(object_id: ObjectId) -> State:
    """Return the state of an object. Raises NoDatasetError if it is gone."""
    dataset = client.dataset(object_id)
    rows = client.zfs((*_LIST, *_COLUMNS, dataset), str(object_id))
    _, guid, _, encryption, zfs_type, free, key, readonly = next(
        row for row in rows if row[0] == dataset
    )
    ours = {names.snapshot_of_zfs(row[0]): row for row in rows if row[0].startswith(f"{dataset}@")}
    return State(
        dataset,
        zfs_type,
        guid,
        encryption != "off",
        int(free),
        key == "unavailable",
        readonly == "on",
        [row[0] for row in rows if row[0].startswith(f"{dataset}/") and row[4] != "snapshot"],
        {snapshot: row[1] for snapshot, row in ours.items() if snapshot},
        {snapshot: int(row[2]) for snapshot, row in ours.items() if snapshot},
    )


def guids(carrier: Carrier) -> Mapping[SnapshotId, str]:
    try:
        return state(ObjectId.parse(carrier)).points
    except NoDatasetError:
        return {}


def make(object_id: ObjectId, snapshot: SnapshotId) -> None:
    body = {"name": names.point(snapshot), "expires_at": _NO_EXPIRY}
    client.send("POST", names.url(object_id, "snapshots"), body, str(object_id))


def sufficient_size(object_id: ObjectId) -> int:
    """Return a size, in bytes, that leaves a received object some room.

    The size that it had may be too small: the image that a container was made of counts now.
    """
    argv = ("get", "-Hp", "-o", "value", "used", client.dataset(object_id))
    ((used,),) = client.zfs(argv, str(object_id))
    return int(used) + max(int(used) // 16, _ROOM)


def remove(carrier: Carrier, snapshot: SnapshotId) -> None:
    """Remove a point, if it is there. Raises PointHeldError if a clone or a hold keeps it."""
    try:
        _remove(ObjectId.parse(carrier), snapshot)
    except HeldError as error:
        raise PointHeldError(
            "lxd.held",
            f"{carrier}: the point of {snapshot} stays, something holds it ({error.message})",
            "`zfs holds` and `zfs get clones` tell what",
        ) from error


def _remove(object_id: ObjectId, snapshot: SnapshotId) -> None:
    """Remove a point from LXD, and from ZFS where LXD does not know it."""
    about = str(object_id)
    try:
        path = names.url(object_id, "snapshots", names.point(snapshot))
        client.send("DELETE", path, None, about)
    except FullError:  # LXD failed to write about it: was it removed before that?
        if snapshot in state(object_id).points:
            raise
    except NotFoundError:
        with suppress(NoDatasetError):
            client.zfs(("destroy", names.zfs_point(client.dataset(object_id), snapshot)), about)


def size_of_stream(sent: Sent, about: str) -> int:
    """Return the bytes of a stream, a little too few: ZFS estimates."""
    rows = client.zfs(sent.argv("-n", "-P"), about)
    return next(int(row[1]) for row in reversed(rows) if row[0] == "size")


@contextmanager
def stream(manifest: Manifest) -> Iterator[BufferedIOBase]:
    """Open the stream of a point: the same bytes until the dataset or its points are renamed."""
    dataset = client.dataset(ObjectId.parse(manifest.carrier))
    parent = manifest.facts["parent"] and SnapshotId.parse(manifest.facts["parent"])
    sent = Sent(dataset, manifest.snapshot, parent, raw=manifest.facts["encrypted"])
    with client.read_zfs(sent.argv(), manifest.carrier) as readable:
        yield readable
