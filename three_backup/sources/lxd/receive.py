"""Receives a snapshot under a name of its own: a failed or killed restore touches nothing else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from three_backup.errors import BackupError
from three_backup.model import hashed_stream
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Advance, RestoreJob, SnapshotFiles, Wanted
from three_backup.sources.lxd import client, encryption, names, points
from three_backup.sources.lxd.container import Container
from three_backup.sources.lxd.encryption import Lock
from three_backup.sources.lxd.failures import NoDatasetError, NotFoundError, OthersError
from three_backup.sources.lxd.points import Sent
from three_backup.sources.lxd.volume import RestoredVolume

_RECEIVE = ("receive", "-u", "-F")
_TRIES = 3
_FILESYSTEM = ("-o", "mountpoint=legacy", "-o", "canmount=noauto")
_BLOCKS = ("-o", "volmode=none", "-o", "lxd:content_type=block")
"""Properties as LXD sets them: it mounts datasets itself."""


@dataclass(frozen=True, slots=True)
class Work:
    """One object that is being restored."""

    job: RestoreJob
    wanted: Wanted
    target: Container | RestoredVolume
    unfinished: ObjectId  # the id of what is being made
    aside: ObjectId  # the id of what it replaces, meanwhile

    @property
    def raw(self) -> bool:
        """Return whether the stream arrives encrypted."""
        return bool(self.job.chain[-1].manifest.facts["encrypted"]) and not self.job.at_source

    @property
    def about(self) -> str:
        return str(self.wanted.target)


def prepare(job: RestoreJob, wanted: Wanted) -> Work:
    """Return the work of one restore; changes nothing yet."""
    kind = RestoredVolume if wanted.object.subtype == names.VOLUME else Container
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
    lock = encryption.lock_of(client.root(work.wanted.target.level1), work.about)
    if work.raw:
        encryption.check(lock, work.about)
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
    """Remove an object, if it is there. Raises BackupError if that would remove more."""
    check_alone(object_id)
    with suppress(NotFoundError):
        client.send("DELETE", names.url(object_id), None, str(object_id))


def check_alone(object_id: ObjectId) -> None:
    """Raise BackupError if there are datasets below the object's: LXD would remove them with it.

    No snapshot of ours has them.
    """
    try:
        below = points.state(object_id).below
    except NoDatasetError:
        return
    if below:
        raise BackupError(
            "lxd.below",
            f"{object_id}: {', '.join(below)} would be removed with it",
            "move it elsewhere first (zfs rename), or restore beside with another name",
        )


def read_stored(files: SnapshotFiles, advance: Advance) -> tuple[int, Iterator[bytes]]:
    """Return the size of a stream, and its pieces, each of them checked."""
    where = f"{files.manifest.carrier}: snapshot {files.manifest.snapshot}"
    index = hashed_stream.StreamIndex.from_json(files.read(hashed_stream.INDEX), where)
    read_range = partial(files.read_range, hashed_stream.STREAM)
    return index.size, _advancing(hashed_stream.checked(index, read_range, where), advance)


def _receive(work: Work, lock: Lock | None) -> int:
    """Receive, and return the bytes that were received."""
    dataset = client.dataset(work.unfinished)
    _check_made(work, dataset)
    if lock is not None:  # ZFS receives an encrypted dataset only as a new one, never over another
        client.zfs(("destroy", "-r", dataset), work.about)
    if work.job.at_source:
        return _received_first(work, partial(_receive_point, work))
    first, *later = work.job.chain
    read = _received_first(work, partial(_receive_stored, work, first))
    read += sum(_receive_stored(work, files) for files in later)
    if lock is not None and work.raw:
        encryption.unlock(lock, dataset, work.about)
    return read


def _check_made(work: Work, dataset: str) -> None:
    """Raise BackupError if LXD did not make the dataset to receive into, or made a zvol for files.

    ZFS would make a new dataset, and LXD would go on with its own, an empty one.
    """
    ((zfs_type,),) = client.zfs(("list", "-H", "-o", "type", dataset), work.about)
    if work.target.is_filesystem and zfs_type != "filesystem":
        pool = work.wanted.target.level1
        raise BackupError(
            "lxd.block_mode",
            f"{work.about}: pool {pool} has zvols for files (zfs.block_mode)",
            f"have it otherwise meanwhile: lxc storage unset {pool} volume.zfs.block_mode",
        )


def _received_first(work: Work, receive: Callable[[], int]) -> int:
    """Receive into the dataset that LXD made.

    Others may make snapshots there meanwhile (sanoid, zfs-auto-snapshot), which ZFS refuses to
    overwrite. Those made later do not hinder it.
    """
    for _ in range(_TRIES):
        with suppress(OthersError):
            return receive()
        client.zfs(("destroy", f"{client.dataset(work.unfinished)}@%"), work.about)
    return receive()


def _receive_point(work: Work) -> int:
    manifest = work.job.chain[-1].manifest
    sent = Sent(client.dataset(work.wanted.object), manifest.snapshot)
    client.pipe_zfs(sent.argv(), _receiving(work, work.job.chain[-1]), work.about)
    return points.size_of_stream(sent, work.about)


def _receive_stored(work: Work, files: SnapshotFiles) -> int:
    size, stored = read_stored(files, work.job.advance)
    client.feed_zfs(_receiving(work, files), stored, work.about)
    return size


def _advancing(stored: Iterator[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in stored:
        yield piece
        advance(len(piece))


def _receiving(work: Work, files: SnapshotFiles) -> tuple[str, ...]:
    dataset = client.dataset(work.unfinished)
    options = _FILESYSTEM if work.target.is_filesystem else _BLOCKS
    return (*_RECEIVE, *options, f"{dataset}@{names.point(files.manifest.snapshot)}")


def _settle(work: Work) -> None:
    """Compare the guid of what was received with the manifest, then destroy our snapshots."""
    last, dataset = work.job.chain[-1].manifest, client.dataset(work.unfinished)
    first = last if work.job.at_source else work.job.chain[0].manifest
    received = f"{dataset}@{names.point(last.snapshot)}"
    ((guid,),) = client.zfs(("get", "-Hp", "-o", "value", "guid", received), work.about)
    if guid != last.facts["guid"]:
        raise BackupError(
            "lxd.other_stream",
            f"{work.about}: what was received is not snapshot {last.snapshot}",
            "restore another snapshot with --snapshot; tb-list --snapshots names them",
        )
    ours = f"{names.point(first.snapshot)}%{names.point(last.snapshot)}"
    client.zfs(("destroy", f"{dataset}@{ours}"), work.about)
