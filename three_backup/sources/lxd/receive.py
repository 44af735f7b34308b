"""Receives a snapshot under a name of its own: a failed or killed restore touches nothing else."""

from collections.abc import Iterator, Sequence
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
from three_backup.sources.lxd.made import Made, made_for
from three_backup.sources.lxd.volume import RestoredVolume


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
        yield _receive(work, lock)
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
        yield Stored(index.size, _advancing(checked, advance))


def _receive(work: Work, lock: Lock | None) -> int:
    """Receive, check what came, and return the bytes that were received."""
    made = made_for(
        work.client, work.unfinished, work.wanted.target, is_block=work.target.is_block
    )
    for each in made:
        if lock is None:
            each.lift_quotas()
        else:  # ZFS receives an encrypted dataset only as a new one, never over another
            each.destroy()
    if work.job.at_source:
        read = _receive_point(work, made)
    else:
        read = sum(_receive_stored(work, files, made) for files in work.job.chain)
    for each in made:
        if lock is not None and work.raw:
            encryption.unlock(work.client, lock, each.dataset, work.about)
    _settle(work, made)
    return read


def _receive_point(work: Work, made: Sequence[Made]) -> int:
    """Copy a point within this host."""
    manifest, source = work.job.chain[-1].manifest, work.wanted.object
    sent = points.copied(source, manifest.snapshot)
    for each in made:
        receiving = each.receiving(manifest.snapshot)
        work.client.pipe_zfs(sent[each.stream].argv(), receiving, work.about)
    return points.size_to_send(source, sent.values())


def _receive_stored(work: Work, files: SnapshotFiles, made: Sequence[Made]) -> int:
    read = 0
    for each, stored in zip(made, read_stored(files, work.job.advance), strict=True):
        receiving = each.receiving(files.manifest.snapshot)
        work.client.feed_zfs(receiving, stored.pieces, work.about)
        read += stored.size
    return read


def _advancing(stored: Iterator[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in stored:
        yield piece
        advance(len(piece))


def _settle(work: Work, made: Sequence[Made]) -> None:
    """Compare the guids of what was received with the manifest, then destroy its snapshots."""
    last = work.job.chain[-1].manifest
    received = [f"{each.dataset}@{names.point(last.snapshot)}" for each in made]
    rows = work.client.zfs(("get", "-Hp", "-o", "value", "guid", *received), work.about)
    if points.joined(guid for (guid,) in rows) != last.facts["guid"]:
        raise BackupError(
            f"{work.wanted.target.type}.other_stream",
            f"{work.about}: what was received is not snapshot {last.snapshot}",
            "restore another snapshot with --snapshot; tb-list --snapshots names them",
        )
    for each in made:
        work.client.zfs(("destroy", f"{each.dataset}@%"), work.about)
        each.set_quotas()
