"""Receives a snapshot under a name of its own: a failed or killed restore touches nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from three_backup.errors import BackupError
from three_backup.model import hashed_stream
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Advance, RestoreJob, SnapshotFiles, Wanted
from three_backup.sources.lxd import encryption, names, points
from three_backup.sources.lxd.client import Client, client_of
from three_backup.sources.lxd.encryption import Lock
from three_backup.sources.lxd.failures import NotFoundError
from three_backup.sources.lxd.instance import Instance
from three_backup.sources.lxd.volume import RestoredVolume

_RECEIVE = ("receive", "-u", "-F")
_FILESYSTEM = ("-o", "mountpoint=legacy", "-o", "canmount=noauto")
_BLOCKS = ("-o", "volmode=none")
"""Properties as the daemons set them: they mount datasets themselves."""


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


@dataclass(frozen=True, slots=True)
class Stored:
    """One stream of a snapshot in S3."""

    name: str  # of its data file
    size: int  # bytes
    pieces: Iterator[bytes]  # each of them checked


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
        read = _receive(work, lock)
        _settle(work)
        yield read
    except BaseException:
        with suppress(BackupError):  # if this fails, the next restore removes it
            remove(work.unfinished)
        raise


def remove(object_id: ObjectId) -> None:
    with suppress(NotFoundError):
        client_of(object_id.type).send("DELETE", names.url(object_id), None, str(object_id))


def read_stored(files: SnapshotFiles, advance: Advance) -> Iterator[Stored]:
    """Yield the streams of a snapshot, data first."""
    where = f"{files.manifest.carrier}: snapshot {files.manifest.snapshot}"
    for name in points.streams_of(files.manifest):
        body = files.read(hashed_stream.index_of(name))
        index = hashed_stream.StreamIndex.from_json(body, where)
        checked = hashed_stream.checked(index, partial(files.read_range, name), where)
        yield Stored(name, index.size, _advancing(checked, advance))


def _receive(work: Work, lock: Lock | None) -> int:
    """Receive, and return the bytes that were received."""
    datasets = work.client.datasets(work.unfinished)
    _check_made(work, datasets)
    if lock is not None:  # ZFS receives an encrypted dataset only as a new one, never over another
        for dataset in datasets.values():
            work.client.zfs(("destroy", dataset), work.about)
    if work.job.at_source:
        return _receive_point(work)
    read = sum(_receive_stored(work, files) for files in work.job.chain)
    if lock is not None and work.raw:
        for dataset in datasets.values():
            encryption.unlock(work.client, lock, dataset, work.about)
    return read


def _check_made(work: Work, datasets: Mapping[str, str]) -> None:
    """Raise BackupError if the daemon did not make a dataset, or made a zvol for files.

    ZFS would make a new dataset, and the daemon would go on with its own, an empty one.
    """
    listed = ("list", "-H", "-o", "type", *datasets.values())
    types = [zfs_type for (zfs_type,) in work.client.zfs(listed, work.about)]
    wanted = [_type_of(work, stream) for stream in datasets]
    if types != wanted:
        target = work.wanted.target
        raise BackupError(
            f"{target.type}.block_mode",
            f"{work.about}: pool {target.level1} has zvols for files (zfs.block_mode)",
            f"have it otherwise meanwhile: {work.client.daemon.client} storage unset "
            f"{target.level1} volume.zfs.block_mode",
        )


def _type_of(work: Work, stream: str) -> str:
    """Return what ZFS calls the dataset that a stream makes."""
    return "volume" if stream == hashed_stream.STREAM and work.target.is_block else "filesystem"


def _receive_point(work: Work) -> int:
    """Copy a point of the same pools; there may be no incremental between them."""
    manifest, source = work.job.chain[-1].manifest, work.wanted.object
    sent = points.copied(source, manifest.snapshot)
    for name, sending in sent.items():
        receiving = _receiving(work, work.job.chain[-1], name)
        work.client.pipe_zfs(sending.argv(), receiving, work.about)
    return points.size_to_send(source, sent.values())


def _receive_stored(work: Work, files: SnapshotFiles) -> int:
    read = 0
    for stored in read_stored(files, work.job.advance):
        receiving = _receiving(work, files, stored.name)
        work.client.feed_zfs(receiving, stored.pieces, work.about)
        read += stored.size
    return read


def _advancing(stored: Iterator[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in stored:
        yield piece
        advance(len(piece))


def _receiving(work: Work, files: SnapshotFiles, stream: str) -> tuple[str, ...]:
    dataset = work.client.datasets(work.unfinished)[stream]
    options = _FILESYSTEM
    if _type_of(work, stream) == "volume":
        options = (*_BLOCKS, "-o", f"{work.client.daemon.content_type}=block")
    return (*_RECEIVE, *options, f"{dataset}@{names.point(files.manifest.snapshot)}")


def _settle(work: Work) -> None:
    """Compare the guids of what was received with the manifest, then destroy its snapshots."""
    last, datasets = work.job.chain[-1].manifest, work.client.datasets(work.unfinished)
    received = [f"{dataset}@{names.point(last.snapshot)}" for dataset in datasets.values()]
    rows = work.client.zfs(("get", "-Hp", "-o", "value", "guid", *received), work.about)
    if points.joined(guid for (guid,) in rows) != last.facts["guid"]:
        raise BackupError(
            f"{work.wanted.target.type}.other_stream",
            f"{work.about}: what was received is not snapshot {last.snapshot}",
            "restore another snapshot with --snapshot; tb-list --snapshots names them",
        )
    for dataset in datasets.values():
        work.client.zfs(("destroy", f"{dataset}@%"), work.about)
