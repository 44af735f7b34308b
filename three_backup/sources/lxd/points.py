"""Makes, lists, sends and removes the points of an object: snapshots that LXD knows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase

from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.base import PointHeldError
from three_backup.sources.lxd import client, names
from three_backup.sources.lxd.failures import HeldError, NoDatasetError, NotFoundError

_LIST = ("list", "-Hp", "-d", "1", "-t", "filesystem,volume,snapshot")
_COLUMNS = ("-o", "name,guid,referenced,encryption,type")
_SEND = ("send", "-c", "-L", "-e")
"""Sends blocks as they lie on disk: compressed, large, embedded."""

_NO_EXPIRY = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class State:
    """The dataset of an object with our points."""

    dataset: str
    type: str  # filesystem, or volume for a zvol
    guid: str  # of the dataset, new after a move
    encrypted: bool  # with ZFS's own encryption
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
    _, guid, _, encryption, zfs_type = next(row for row in rows if row[0] == dataset)
    ours = {names.snapshot_of_zfs(row[0]): row for row in rows if row[0].startswith(f"{dataset}@")}
    return State(
        dataset,
        zfs_type,
        guid,
        encryption != "off",
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


def remove(carrier: Carrier, snapshot: SnapshotId) -> None:
    """Remove a point, if it is there. Raises PointHeldError if a clone or a hold keeps it."""
    object_id = ObjectId.parse(carrier)
    try:
        client.send(
            "DELETE", names.url(object_id, "snapshots", names.point(snapshot)), None, carrier
        )
    except NotFoundError:
        return
    except HeldError as error:
        raise PointHeldError(
            "lxd.held",
            f"{carrier}: the point of {snapshot} stays, something holds it ({error.message})",
            "`zfs holds` and `zfs get clones` tell what",
        ) from error


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
