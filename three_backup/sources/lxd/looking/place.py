"""Has the files of a snapshot in a dataset: its point in the pool, else received for a while."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from three_backup.errors import BackupError
from three_backup.host.machine import host_id
from three_backup.host.processes import Holder
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import SnapshotId
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import client_of
from three_backup.sources.lxd.daemon.failures import HeldError, NoDatasetError
from three_backup.sources.lxd.datasets import points
from three_backup.sources.lxd.datasets.apart import received_apart

_LIST = ("list", "-H", "-d", "1", "-t", "filesystem,volume", "-o", "name")


@contextmanager
def dataset_of(job: RestoreJob) -> Iterator[str]:
    """Yield what ZFS mounts to show the files: a point, or a dataset that goes with the block."""
    ((object_id, last),) = ((wanted.object, job.chain[-1].manifest) for wanted in job.wanted)
    if points.is_block(last):
        raise BackupError(
            f"{object_id.type}.blocks",
            f"{object_id}: it is a disk of blocks, and not a tree of files",
            "--definition shows how it is made; tb-restore --level3-suffix=-look brings it back "
            "beside the present one",
        )
    if job.at_source:
        dataset = client_of(object_id.type).datasets(object_id)[STREAM]
        yield names.zfs_point(dataset, last.snapshot)
        return
    job.expect(sum(files.manifest.stored_size for files in job.chain))
    name = _own_name(object_id, last.snapshot)
    with received_apart(object_id, job.chain, name, job.advance) as apart:
        yield apart.datasets[STREAM]


def _own_name(object_id: ObjectId, snapshot: SnapshotId) -> str:
    """Return a name that only this look has, once what killed ones left is removed."""
    client, about = client_of(object_id.type), str(object_id)
    ours = f"{names.LOOKING}{_digest(host_id())}-"
    root = client.root(object_id.level1)
    pattern = re.compile(rf"{re.escape(root)}/{ours}(\d+)-(\d+)-.*")
    for (dataset,) in client.zfs((*_LIST, root), about):
        found = pattern.fullmatch(dataset)
        if found and not _runs(int(found[1]), int(found[2])):
            with suppress(NoDatasetError, HeldError):  # another one removes it; the next one does
                client.zfs(("destroy", "-r", dataset), about)
    pid = os.getpid()
    return f"{ours}{pid}-{_start(pid)}-{_digest(f'{object_id} {snapshot}')}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _runs(pid: int, start: int) -> bool:
    return _start(pid) == start


def _start(pid: int) -> int | None:
    holder = Holder.of(pid)
    return None if holder is None else holder.start_time
