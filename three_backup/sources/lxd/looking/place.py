"""Has the files of a snapshot in a dataset: its point in the pool, else received for a while."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from three_backup.errors import BackupError
from three_backup.host.machine import host_id
from three_backup.host.processes import Holder
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.base import AbsentError
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client, client_of
from three_backup.sources.lxd.daemon.failures import HeldError, NoDatasetError
from three_backup.sources.lxd.datasets import points
from three_backup.sources.lxd.datasets.apart import received_apart

_LIST = ("list", "-H", "-d", "1", "-o", "name", "-t")
_DATASETS, _SNAPSHOTS = (*_LIST, "filesystem,volume"), (*_LIST, "snapshot")


@contextmanager
def dataset_of(job: RestoreJob) -> Iterator[str]:
    """Yield what ZFS mounts to show the files: a point, or a dataset that goes with the block."""
    ((object_id, last),) = ((wanted.object, job.chain[-1].manifest) for wanted in job.wanted)
    _check(object_id, last)
    if job.at_source:
        dataset = client_of(object_id.type).datasets(object_id)[STREAM]
        yield names.zfs_point(dataset, last.snapshot)
        return
    with _received(job) as received:
        yield received


@contextmanager
def _received(job: RestoreJob, *, with_points: bool = False) -> Iterator[str]:
    ((object_id, last),) = ((wanted.object, job.chain[-1].manifest) for wanted in job.wanted)
    _check(object_id, last)
    job.expect(sum(files.manifest.stored_size for files in job.chain))
    name = _own_name(object_id, last.snapshot)
    with received_apart(object_id, job.chain, name, job.advance, with_points=with_points) as apart:
        yield apart.datasets[STREAM]


def _check(object_id: ObjectId, last: Manifest) -> None:
    """Raise BackupError where there are no files."""
    if points.is_block(last):
        raise BackupError(
            f"{object_id.type}.blocks",
            f"{object_id}: it is a disk of blocks, and not a tree of files",
            "--definition shows how it is made; tb-restore --level3-suffix=-look brings it back "
            "beside the present one",
        )


@contextmanager
def datasets_of(earlier: RestoreJob, later: RestoreJob) -> Iterator[tuple[str, str]]:
    """Yield what ZFS mounts to show two moments; if one builds on the other, that is all read."""
    then = earlier.chain[-1].manifest.snapshot
    links = [files.manifest.snapshot for files in later.chain]
    if earlier.at_source or later.at_source or then not in links:
        with dataset_of(earlier) as one, dataset_of(later) as other:
            yield one, other
        return
    with _received(later, with_points=True) as dataset:
        yield f"{dataset}@{names.point(then)}", dataset


@contextmanager
def live_point(object_id: ObjectId) -> Iterator[str]:
    """Make a snapshot of what is live, of which the daemon does not know; it goes with the block.

    Raises AbsentError where the object is not there any more.
    """
    client, about = client_of(object_id.type), str(object_id)
    dataset = client.datasets(object_id)[STREAM]
    try:
        _clear(client, (*_SNAPSHOTS, dataset), f"{dataset}@", about)
        point = f"{dataset}@{_ours()}"
        client.zfs(("snapshot", point), about)
    except NoDatasetError as error:
        raise AbsentError(
            f"{object_id.type}.not_live",
            f"{object_id}: it is not there any more",
            "tb-restore brings it back, and tb-cat shows it",
        ) from error
    try:
        yield point
    finally:
        client.zfs(("destroy", point), about)


def _own_name(object_id: ObjectId, snapshot: SnapshotId) -> str:
    """Return a name that only this look has, once what killed ones left is removed."""
    client, about = client_of(object_id.type), str(object_id)
    root = client.root(object_id.level1)
    _clear(client, (*_DATASETS, root), f"{root}/", about)
    return f"{_ours()}-{_digest(f'{object_id} {snapshot}')}"


def _clear(client: Client, listing: Sequence[str], place: str, about: str) -> None:
    """Remove what killed looks of this host left. place: what all of their names begin with."""
    pattern = re.compile(rf"{re.escape(place + _of_this_host())}(\d+)-(\d+)(?:-.*)?")
    for (name,) in client.zfs(listing, about):
        found = pattern.fullmatch(name)
        if found and _start(int(found[1])) != int(found[2]):
            with suppress(NoDatasetError, HeldError):  # another one removes it; the next one does
                client.zfs(("destroy", "-r", name), about)


def _ours() -> str:
    """Return what all names begin with that this process gives."""
    pid = os.getpid()
    return f"{_of_this_host()}{pid}-{_start(pid)}"


def _of_this_host() -> str:
    return f"{names.LOOKING}{_digest(host_id())}-"


def _start(pid: int) -> int | None:
    holder = Holder.of(pid)
    return None if holder is None else holder.start_time


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
