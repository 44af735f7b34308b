"""Makes, lists, sends and removes the points of an object: snapshots that the daemon knows."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.base import OpenStream, PointHeldError
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import client_of
from three_backup.sources.lxd.daemon.failures import (
    FullError,
    HeldError,
    NoDatasetError,
    NotFoundError,
    NotZfsError,
)

_LIST = ("list", "-Hp", "-d", "1", "-t", "filesystem,volume,snapshot")
_BELOW = ("list", "-H", "-d", "1", "-t", "filesystem,volume", "-o", "name")
_COLUMNS = ("-o", "name,guid,referenced,encryption,type,available,keystatus,readonly")
_SEND = ("send", "-c", "-L")
"""Sends blocks as they lie on disk: compressed, large. Not embedded ones (-e): no encrypted
dataset receives these."""

_ROOM = 1 << 22
SIZE_CHANGED = "its size is {} bytes now, since what came back did not fit into the one it had"
"""The note on an object that got its size from sufficient_size()."""

_NO_EXPIRY = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Part:
    """One dataset of an object with our points."""

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
class State:
    """All datasets of an object: one, or the two of a virtual machine."""

    parts: Mapping[str, Part]  # by the names of their streams

    @property
    def guid(self) -> str:
        return joined(part.guid for part in self.parts.values())

    @property
    def encrypted(self) -> bool:
        return any(part.encrypted for part in self.parts.values())

    @property
    def points(self) -> dict[SnapshotId, str]:
        """Guids of our points; a dataset that lacks one of them has a dash."""
        parts = self.parts.values()
        there = {point for part in parts for point in part.points}
        return {point: joined(part.points.get(point, "-") for part in parts) for point in there}

    @property
    def below(self) -> list[str]:
        """The datasets below those of the object: they are not part of it."""
        return [name for part in self.parts.values() for name in part.below]

    def size(self, snapshot: SnapshotId) -> int:
        """Return the bytes that a point refers to."""
        return sum(part.sizes[snapshot] for part in self.parts.values())


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
    client = client_of(object_id.type)
    datasets = client.datasets(object_id)
    rows = client.zfs((*_LIST, *_COLUMNS, *datasets.values()), str(object_id))
    return State({stream: _part(dataset, rows) for stream, dataset in datasets.items()})


def _part(dataset: str, rows: Sequence[Sequence[str]]) -> Part:
    own = next(row for row in rows if row[0] == dataset)
    _, guid, _, encryption, zfs_type, free, key, readonly = own
    ours = {names.snapshot_of_zfs(row[0]): row for row in rows if row[0].startswith(f"{dataset}@")}
    return Part(
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


def below(object_id: ObjectId) -> list[str]:
    """Return the datasets below those of an object; none if its pool is not on ZFS."""
    client, found = client_of(object_id.type), list[str]()
    with suppress(NotZfsError):
        for dataset in client.datasets(object_id).values():
            with suppress(NoDatasetError):
                rows = client.zfs((*_BELOW, dataset), str(object_id))
                found += (name for (name,) in rows if name != dataset)
    return found


def joined(guids: Iterable[str]) -> str:
    """Return the guids of the datasets of one object, or of their points, as one."""
    return "+".join(guids)


def guids(carrier: Carrier) -> Mapping[SnapshotId, str]:
    try:
        return state(ObjectId.parse(carrier)).points
    except NoDatasetError:
        return {}


def make(object_id: ObjectId, snapshot: SnapshotId) -> None:
    body = {"name": names.point(snapshot), "expires_at": _NO_EXPIRY}
    client_of(object_id.type).send("POST", names.url(object_id, "snapshots"), body, str(object_id))


def sufficient_size(object_id: ObjectId) -> int:
    """Return a size, in bytes, that leaves the files of a received object some room.

    The size that it had may be too small: the image that a container was made of counts now.
    """
    client = client_of(object_id.type)
    *_, files = client.datasets(object_id).values()
    ((used,),) = client.zfs(("get", "-Hp", "-o", "value", "used", files), str(object_id))
    return int(used) + max(int(used) // 16, _ROOM)


def remove(carrier: Carrier, snapshot: SnapshotId) -> None:
    """Remove a point, if it is there. Raises PointHeldError if a clone or a hold keeps it."""
    object_id = ObjectId.parse(carrier)
    try:
        _remove(object_id, snapshot)
    except HeldError as error:
        raise PointHeldError(
            f"{object_id.type}.held",
            f"{carrier}: the point of {snapshot} stays, something holds it ({error.message})",
            "`zfs holds` and `zfs get clones` tell what",
        ) from error


def _remove(object_id: ObjectId, snapshot: SnapshotId) -> None:
    """Remove a point from the daemon, and from ZFS where the daemon does not know it."""
    client, about = client_of(object_id.type), str(object_id)
    if object_id.subtype == names.MACHINE:
        _check_free(object_id, snapshot)
    try:
        path = names.url(object_id, "snapshots", names.point(snapshot))
        client.send("DELETE", path, None, about)
    except FullError:  # it could not write about that: was the point removed before?
        if snapshot in state(object_id).points:
            raise
    except NotFoundError:
        for dataset in client.datasets(object_id).values():
            with suppress(NoDatasetError):
                client.zfs(("destroy", names.zfs_point(dataset, snapshot)), about)


def _check_free(object_id: ObjectId, snapshot: SnapshotId) -> None:
    """Raise HeldError if a hold keeps the point in one of the datasets of a virtual machine.

    The daemon would remove it from the other, and then fail.
    """
    client = client_of(object_id.type)
    held = [names.zfs_point(dataset, snapshot) for dataset in client.datasets(object_id).values()]
    with suppress(NoDatasetError):
        rows = client.zfs(("get", "-Hp", "-o", "name,value", "userrefs", *held), str(object_id))
        for name in (name for name, holds in rows if holds != "0"):
            raise HeldError(f"{object_id.type}.held", f"{object_id}: {name} has a hold")


def size_to_send(object_id: ObjectId, sent: Iterable[Sent]) -> int:
    """Return the bytes of streams, a little too few: ZFS estimates."""
    zfs = client_of(object_id.type).zfs
    listed = [zfs(stream.argv("-n", "-P"), str(object_id)) for stream in sent]
    return sum(next(int(row[1]) for row in reversed(rows) if row[0] == "size") for rows in listed)


def copied(object_id: ObjectId, snapshot: SnapshotId) -> dict[str, Sent]:
    """Return the streams that copy a point within this host, by the names of data files."""
    datasets = client_of(object_id.type).datasets(object_id)
    return {stream: Sent(dataset, snapshot) for stream, dataset in datasets.items()}


def is_block(manifest: Manifest) -> bool:
    """Return whether the data of what the snapshot holds is a zvol."""
    is_machine = ObjectId.parse(manifest.carrier).subtype == names.MACHINE
    return is_machine or manifest.facts["configuration"].get("content_type") == "block"


def streams_of(manifest: Manifest) -> list[str]:
    """Return the names of the streams of a snapshot, data first."""
    return list(names.datasets("", ObjectId.parse(manifest.carrier)))


def streams(manifest: Manifest) -> dict[str, OpenStream]:
    """Return the streams of a point: the same bytes until a dataset or its points are renamed."""
    object_id = ObjectId.parse(manifest.carrier)
    client = client_of(object_id.type)
    parent = manifest.facts["parent"] and SnapshotId.parse(manifest.facts["parent"])
    raw = manifest.facts["encrypted"]
    sent = {
        stream: Sent(dataset, manifest.snapshot, parent, raw)
        for stream, dataset in client.datasets(object_id).items()
    }
    return {
        stream: partial(client.read_zfs, sending.argv(), manifest.carrier)
        for stream, sending in sent.items()
    }
