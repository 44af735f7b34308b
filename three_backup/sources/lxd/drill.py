"""Proves that instances and volumes come back: receives them beside the live ones."""

from collections.abc import Iterator

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.jobs import DrillJob
from three_backup.sources.lxd.daemon.names import DRILLING
from three_backup.sources.lxd.datasets import points
from three_backup.sources.lxd.datasets.apart import received_apart
from three_backup.sources.lxd.datasets.receiver import read_stream

Outcome = tuple[ObjectId, Restored | BackupError]


def drill(job: DrillJob) -> Iterator[Outcome]:
    """Receive each object and remove it at once.

    `zfs receive` compares every block with its checksum, and the guid identifies the snapshot.
    """
    for carried in job.objects:
        try:
            yield carried.id, _drill(job, carried.id)
        except BackupError as error:
            yield carried.id, error


def read_through(job: DrillJob) -> Iterator[Outcome]:
    """Read all that the chain stores: a carrier holds one object, so all of it is its own."""
    for carried in job.objects:
        try:
            yield carried.id, _read_through(job)
        except BackupError as error:
            yield carried.id, error


def _drill(job: DrillJob, object_id: ObjectId) -> Restored:
    with received_apart(object_id, job.chain, f"{DRILLING}{job.name}", job.advance) as apart:
        return Restored({"bytes_read": apart.bytes_read})


def _read_through(job: DrillJob) -> Restored:
    bytes_read = 0
    for files in job.chain:
        for stream in points.streams_of(files.manifest):
            stored = read_stream(files, stream, job.advance)
            bytes_read += stored.size
            for _ in stored.pieces:
                pass
    return Restored({"bytes_read": bytes_read})
