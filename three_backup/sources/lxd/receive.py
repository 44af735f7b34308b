"""Receives a snapshot under a name of its own: a failed or killed restore touches nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client, client_of
from three_backup.sources.lxd.daemon.failures import NotFoundError
from three_backup.sources.lxd.datasets import encryption, points
from three_backup.sources.lxd.datasets.encryption import Lock
from three_backup.sources.lxd.datasets.receiver import Dataset, Receiver
from three_backup.sources.lxd.targets.instance import Instance, unprotect
from three_backup.sources.lxd.targets.root_disk import root_of
from three_backup.sources.lxd.targets.volume import RestoredVolume

_GET = ("get", "-Hp", "-s", "local,none", "-o", "name,property,value,source", "all")
_FILES = {"mountpoint": "legacy", "canmount": "noauto"}
_BLOCKS = {"volmode": "none"}
"""Properties that no stream decides: daemons mount datasets themselves, and nobody else does."""


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


def located(object_id: ObjectId) -> ObjectId:
    """Return the id of what has the object's name: maybe in another pool, or of another kind.

    Raises NotFoundError. All instances of a project have different names.
    """
    if object_id.subtype == names.VOLUME:
        return object_id
    found = client_of(object_id.type).get(names.url(object_id), str(object_id))
    _, root = root_of(found["expanded_devices"])
    return replace(object_id, subtype=names.subtype_of(found), level1=root["pool"])


def check_alone(object_id: ObjectId) -> None:
    """Raise BackupError if there are datasets below the object's: they would go with it.

    No snapshot of ours has them.
    """
    with suppress(NotFoundError):
        object_id = located(object_id)
    if below := points.below(object_id):
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
    made = []
    for stream, dataset in datasets.items():
        kept = _BLOCKS if types[dataset] == "volume" else _FILES
        own = {key: value for name, key, value in local if name == dataset}
        made.append(Dataset(stream, dataset, {**kept, **own}))
    return made
