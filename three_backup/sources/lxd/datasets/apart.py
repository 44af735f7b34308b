"""Receives a snapshot apart: into datasets that the daemon does not know, read-only, for a while.

Nothing that a project limits, and nothing live, has a part in it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Advance, SnapshotFiles
from three_backup.sources.lxd.daemon.client import client_of
from three_backup.sources.lxd.daemon.failures import NoDatasetError
from three_backup.sources.lxd.datasets import encryption, points
from three_backup.sources.lxd.datasets.receiver import Dataset, Receiver

_FILES = {"readonly": "on", "mountpoint": "legacy", "canmount": "noauto"}
_BLOCKS = {"readonly": "on", "volmode": "none"}


@dataclass(frozen=True, slots=True)
class Apart:
    """A snapshot that was received apart."""

    datasets: dict[str, str]  # by the names of their streams
    bytes_read: int


@contextmanager
def received_apart(
    object_id: ObjectId,
    chain: Sequence[SnapshotFiles],
    name: str,
    advance: Advance,
    *,
    with_points: bool = False,
) -> Iterator[Apart]:
    """Receive a chain into the object's pool; what was received goes with the block.

    name: of the datasets, below the pool's. What a killed process left under it is removed first.
    with_points: the datasets have each snapshot of the chain, too, as `names.point` calls it.
    Raises BackupError, also if the pool cannot open what was sent encrypted.
    """
    client, last = client_of(object_id.type), chain[-1].manifest
    root = client.root(object_id.level1)
    lock = encryption.lock_of(client, root, str(object_id))
    if last.facts["encrypted"]:
        encryption.check(lock, object_id)
    datasets = [
        Dataset(stream, f"{root}/{name}.{stream}", _BLOCKS if is_block else _FILES)
        for stream in points.streams_of(last)
        for is_block in (stream == STREAM and points.is_block(last),)
    ]
    receiver = Receiver(object_id, datasets, lock)
    _remove(object_id, datasets)
    try:
        read = receiver.receive(chain, advance)
        receiver.check(last)
        if not with_points:
            receiver.drop(chain[0].manifest, last)
        yield Apart({dataset.stream: dataset.name for dataset in datasets}, read)
    finally:
        _remove(object_id, datasets)


def _remove(object_id: ObjectId, datasets: Sequence[Dataset]) -> None:
    for dataset in datasets:
        with suppress(NoDatasetError):
            client_of(object_id.type).zfs(("destroy", "-r", dataset.name), str(object_id))
