"""The points of an object: snapshots that LXD knows, and what ZFS says and sends of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase

from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.base import PointHeldError
from three_backup.sources.lxd import client, names
from three_backup.sources.lxd.failures import HeldError, NoDatasetError, NotFoundError

_LIST = ("list", "-Hp", "-d", "1", "-t", "filesystem,volume,snapshot")
_COLUMNS = ("-o", "name,guid,referenced,encryption,type")
_SEND = ("send", "-c", "-L", "-e")
"""Blocks as they lie on disk: compressed, large, embedded."""

_NO_EXPIRY = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class State:
    """type: filesystem, or volume for a zvol; guid: of the dataset, new after a move; encrypted:
    with ZFS's own encryption; points: the guids of ours."""

    dataset: str
    type: str
    guid: str
    encrypted: bool
    points: Mapping[SnapshotId, str]
    sizes: Mapping[SnapshotId, int]


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent. parent: None for all of the snapshot; raw: encrypted as it lies on disk."""

    dataset: str
    snapshot: SnapshotId
    parent: SnapshotId | None = None
    raw: bool = False

    def argv(self, *options: str) -> tuple[str, ...]:
        raw = ("-w",) if self.raw else ()
        since = ("-i", names.zfs_point(self.dataset, self.parent)) if self.parent else ()
        point = names.zfs_point(self.dataset, self.snapshot)
        return (*_SEND, *raw, *options, *since, point)


def state(object_id: ObjectId) -> State:
    """Raises NoDatasetError where the object is gone."""
    dataset = client.dataset(object_id)
    rows = client.zfs((*_LIST, *_COLUMNS, dataset), str(object_id))
    _, guid, _, encryption, type = next(row for row in rows if row[0] == dataset)
    ours = {names.snapshot_of_zfs(row[0]): row for row in rows if row[0].startswith(f"{dataset}@")}
    return State(
        dataset,
        type,
        guid,
        encryption != "off",
        {snapshot: row[1] for snapshot, row in ours.items() if snapshot},
        {snapshot: int(row[2]) for snapshot, row in ours.items() if snapshot},
    )


def guids(carrier: str) -> Mapping[SnapshotId, str]:
    try:
        return state(ObjectId.parse(carrier)).points
    except NoDatasetError:
        return {}


def make(object_id: ObjectId, snapshot: SnapshotId) -> None:
    body = {"name": names.point(snapshot), "expires_at": _NO_EXPIRY}
    client.send("POST", names.url(object_id, "snapshots"), body, str(object_id))


def remove(carrier: str, snapshot: SnapshotId) -> None:
    """Raises PointHeldError where a clone or a hold keeps it."""
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
    """Bytes, a little too few: ZFS estimates."""
    rows = client.zfs(sent.argv("-n", "-P"), about)
    return next(int(row[1]) for row in reversed(rows) if row[0] == "size")


@contextmanager
def stream(manifest: Manifest) -> Iterator[BufferedIOBase]:
    """The same bytes each time, as long as neither the dataset nor its points are renamed."""
    dataset = client.dataset(ObjectId.parse(manifest.carrier))
    parent = manifest.facts["parent"] and SnapshotId.parse(manifest.facts["parent"])
    sent = Sent(dataset, manifest.snapshot, parent, raw=manifest.facts["encrypted"])
    with client.read_zfs(sent.argv(), manifest.carrier) as readable:
        yield readable
