"""Proves that instances and volumes come back: restores them stopped beside the live ones."""

from collections.abc import Iterator
from dataclasses import replace

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.jobs import DrillJob, RestoreJob, Wanted
from three_backup.sources.lxd import names
from three_backup.sources.lxd.receive import opened, prepare, read_stored, received, remove

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
    work = prepare(_restore_job(job), Wanted(object_id, object_id))
    work = replace(work, unfinished=replace(object_id, level3=f"{names.DRILLING}{job.name}"))
    lock = opened(work)
    # Notes are ignored: what this host lacks is no fault of the snapshot.
    list(work.target.check())
    remove(work.unfinished)  # left by a drill that was killed
    with received(work, lock) as read:
        pass
    remove(work.unfinished)
    return Restored({"bytes_read": read})


def _restore_job(job: DrillJob) -> RestoreJob:
    return RestoreJob(
        wanted=(),
        chain=job.chain,
        overwrite=False,
        source_settings=job.source_settings,
        work_dir=job.work_dir,
        advance=job.advance,
        say=job.say,
        options={"without_devices": True},
    )


def _read_through(job: DrillJob) -> Restored:
    bytes_read = 0
    for files in job.chain:
        for stored in read_stored(files, job.advance):
            bytes_read += stored.size
            for _ in stored.pieces:
                pass
    return Restored({"bytes_read": bytes_read})
