"""Receives a snapshot under a name of its own: a failed or killed restore touches nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client, client_of
from three_backup.sources.lxd.daemon.failures import NoDatasetError, NotFoundError
from three_backup.sources.lxd.datasets import encryption, points
from three_backup.sources.lxd.datasets.encryption import Lock
from three_backup.sources.lxd.datasets.receiver import Dataset, Receiver
from three_backup.sources.lxd.targets.instance import Instance, unprotect
from three_backup.sources.lxd.targets.volume import RestoredVolume

_GET = ("get", "-Hp", "-o", "name,property,value,source", "all")


@dataclass(frozen=True, slots=True)
class Work:
    """One object that is being restored."""

    job: RestoreJob
    wanted: Wanted
    target: Instance | RestoredVolume
    unfinished: ObjectId  # the id of what is being made
    aside: ObjectId  # the id of what it replaces, meanwhile

    @property
    def client(self) -> Client:
        """The client of the daemon that gets it."""
        return client_of(self.wanted.target.type)

    @property
    def raw(self) -> bool:
        """Return whether the stream arrives encrypted."""
        return bool(self.job.chain[-1].manifest.facts["encrypted"]) and not self.job.at_source

    @property
    def about(self) -> str:
        return str(self.wanted.target)


def prepare(job: RestoreJob, wanted: Wanted) -> Work:
    """Return the work of one restore; changes nothing yet."""
    kind = RestoredVolume if wanted.object.subtype == names.VOLUME else Instance
    target = kind(
        wanted,
        job.chain[-1].manifest.facts,
        without_devices=bool(job.options.get("without_devices")),
    )
    return Work(
        job,
        wanted,
        target,
        names.beside(wanted.target, names.RESTORING),
        names.beside(wanted.target, names.REPLACED),
    )


def opened(work: Work) -> Lock | None:
    """Return the lock of the target's pool, None if it is not encrypted.

    Raises BackupError if there is no such pool on ZFS, or it cannot open what is received.
    """
    target = work.wanted.target
    lock = encryption.lock_of(work.client, work.client.root(target.level1), work.about)
    if work.raw:
        encryption.check(lock, target)
    return lock


@contextmanager
def received(work: Work, lock: Lock | None) -> Iterator[int]:
    """Receive into `unfinished`, check it, and give the bytes that were received.

    Removes `unfinished` if this or the block fails.
    """
    try:
        work.target.create(work.unfinished)
        yield _receive(work, lock)
    except BaseException:
        with suppress(BackupError):  # if this fails, the next restore removes it
            remove(work.unfinished)
        raise


def remove(object_id: ObjectId) -> None:
    """Remove what a restore made or put aside, and before that what protects it.

    Raises BackupError if that would remove more.
    """
    check_alone(object_id)
    with suppress(NotFoundError):
        unprotect(object_id)
        client_of(object_id.type).send("DELETE", names.url(object_id), None, str(object_id))


def check_alone(object_id: ObjectId) -> None:
    """Raise BackupError if there are datasets below the object's: they would go with it.

    No snapshot of ours has them.
    """
    try:
        below = points.state(object_id).below
    except NoDatasetError:
        return
    if below:
        raise BackupError(
            f"{object_id.type}.below",
            f"{object_id}: {', '.join(below)} would be removed with it",
            "move it elsewhere first (zfs rename), or restore beside with another name",
        )


def _receive(work: Work, lock: Lock | None) -> int:
    """Receive, check what came, and return the bytes that were received."""
    receiver, last = Receiver(work.wanted.target, _made(work), lock), work.job.chain[-1].manifest
    receiver.clear_the_way()
    if work.job.at_source:
        read = receiver.copy(work.wanted.object, last.snapshot)
    else:
        read = receiver.receive(work.job.chain, work.job.advance)
    receiver.settle(work.job.chain[0].manifest, last)
    receiver.set_quotas()
    return read


def _made(work: Work) -> list[Dataset]:
    """Return the datasets that the daemon made, that of the data first.

    Raises BackupError if one is missing, or is a zvol for files: ZFS would make a new one, and
    the daemon would go on with its own, an empty one.
    """
    datasets, target = work.client.datasets(work.unfinished), work.wanted.target
    rows = work.client.zfs((*_GET, *datasets.values()), work.about)
    types = {name: value for name, key, value, _ in rows if key == "type"}
    is_block = points.is_block(work.job.chain[-1].manifest)
    if (types[datasets[STREAM]] == "volume") != is_block:
        raise BackupError(
            f"{target.type}.block_mode",
            f"{work.about}: pool {target.level1} has zvols for files (zfs.block_mode)",
            f"have it otherwise meanwhile: {work.client.daemon.client} storage unset "
            f"{target.level1} volume.zfs.block_mode",
        )
    local = [(name, key, value) for name, key, value, source in rows if source == "local"]
    return [
        Dataset(stream, dataset, {key: value for name, key, value in local if name == dataset})
        for stream, dataset in datasets.items()
    ]
