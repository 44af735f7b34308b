"""Brings a container or volume back: under a name of its own until it is whole, then under the
target's, so that a restore which fails or is killed has touched nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from three_backup import pieces
from three_backup.errors import BackupError
from three_backup.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.jobs import RestoreJob, SnapshotFiles, Wanted
from three_backup.sources.lxd import client, encryption, names, points
from three_backup.sources.lxd.container import Container
from three_backup.sources.lxd.encryption import Lock
from three_backup.sources.lxd.failures import NotFoundError
from three_backup.sources.lxd.points import Sent
from three_backup.sources.lxd.volume import Volume

_RECEIVE = ("receive", "-u", "-F")
_FILESYSTEM = ("-o", "mountpoint=legacy", "-o", "canmount=noauto")
_BLOCKS = ("-o", "volmode=none", "-o", "lxd:content_type=block")
"""As LXD has them: it mounts them itself."""


@dataclass(frozen=True, slots=True)
class Work:
    """unfinished: the id of what is being made; aside: of what it replaces, meanwhile."""

    job: RestoreJob
    wanted: Wanted
    target: Container | Volume
    unfinished: ObjectId
    aside: ObjectId

    @property
    def raw(self) -> bool:
        """Whether what is received was never decrypted."""
        return bool(self.job.chain[-1].manifest.facts["encrypted"]) and not self.job.at_source

    @property
    def about(self) -> str:
        return str(self.wanted.target)


def restore(job: RestoreJob) -> Iterator[tuple[Wanted, Restored | BackupError]]:
    for wanted in job.wanted:
        try:
            yield wanted, _restore(prepare(job, wanted))
        except BackupError as error:
            yield wanted, error


def prepare(job: RestoreJob, wanted: Wanted) -> Work:
    """Nothing is changed yet."""
    kind = Volume if wanted.object.subtype == names.VOLUME else Container
    target = kind(wanted, job.chain[-1].manifest.facts, bool(job.options.get("without_devices")))
    return Work(
        job,
        wanted,
        target,
        names.beside(wanted.target, names.RESTORING),
        names.beside(wanted.target, names.REPLACED),
    )


def _restore(work: Work) -> Restored:
    root = client.root(work.wanted.target.level1)  # its pool is there, and on ZFS
    lock = encryption.lock_of(root, work.about)
    if work.raw:
        encryption.check(lock, work.about)
    notes = list(work.target.check())
    replaced = _make_room(work)
    with _removed_on_failure(work):
        work.target.create(work.unfinished)
        read = _receive(work, lock)
        _settle(work)
        with _out_of_the_way(work, replaced):
            work.target.configure(work.unfinished)
            client.rename(work.unfinished, work.wanted.target.level3)
    notes += (*work.target.finish(), *_drop_replaced(work, replaced))
    return Restored({"bytes_read": read}, tuple(notes))


def _make_room(work: Work) -> bool:
    """Whether there is something to replace, once what a killed restore left is cleared: what it
    made, and what it put aside and found nothing to put in its place.

    Raises BackupError where something is in the way.
    """
    there = client.names_beside(work.wanted.target)
    if work.unfinished.level3 in there:
        _remove(work.unfinished)
    replaced = work.wanted.target.level3 in there
    if work.aside.level3 in there and not replaced:
        client.rename(work.aside, work.wanted.target.level3)
        replaced = True
    elif work.aside.level3 in there and work.job.overwrite:
        _remove(work.aside)
    if replaced:
        check_replaceable(work)
    return replaced


def check_replaceable(work: Work) -> None:
    if not work.job.overwrite:
        raise BackupError(
            "lxd.exists",
            f"{work.about}: there is one already",
            "replace it with --overwrite, or restore beside it with --level3-suffix",
        )
    work.target.check_replaceable()


def _remove(object_id: ObjectId) -> None:
    with suppress(NotFoundError):
        client.send("DELETE", names.url(object_id), None, str(object_id))


@contextmanager
def _removed_on_failure(work: Work) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(BackupError):  # else the next restore removes it
            _remove(work.unfinished)
        raise


def _receive(work: Work, lock: Lock | None) -> int:
    """Bytes that were received."""
    dataset = client.dataset(work.unfinished)
    if lock is not None:  # ZFS takes no encrypted dataset for another, only for a new one
        client.zfs(("destroy", dataset), work.about)
    if work.job.at_source:
        return _receive_point(work)
    read = sum(_receive_stored(work, files) for files in work.job.chain)
    if lock is not None and work.raw:
        encryption.unlock(lock, dataset, work.about)
    return read


def _receive_point(work: Work) -> int:
    manifest = work.job.chain[-1].manifest
    sent = Sent(client.dataset(work.wanted.object), manifest.snapshot)
    client.pipe_zfs(sent.argv(), _receiving(work, work.job.chain[-1]), work.about)
    return points.size_of_stream(sent, work.about)


def _receive_stored(work: Work, files: SnapshotFiles) -> int:
    where = f"{files.manifest.carrier}: snapshot {files.manifest.snapshot}"
    index = pieces.Index.from_json(files.read(pieces.INDEX), where)
    read_range = partial(files.read_range, pieces.STREAM)
    received = _advancing(work, pieces.checked(index, read_range, where))
    client.feed_zfs(_receiving(work, files), received, work.about)
    return index.size


def _advancing(work: Work, received: Iterator[bytes]) -> Iterator[bytes]:
    for piece in received:
        yield piece
        work.job.advance(len(piece))


def _receiving(work: Work, files: SnapshotFiles) -> tuple[str, ...]:
    dataset = client.dataset(work.unfinished)
    options = _FILESYSTEM if work.target.is_filesystem else _BLOCKS
    return (*_RECEIVE, *options, f"{dataset}@{names.point(files.manifest.snapshot)}")


def _settle(work: Work) -> None:
    """What was received is the one, and has none of our snapshots any more."""
    last, dataset = work.job.chain[-1].manifest, client.dataset(work.unfinished)
    received = f"{dataset}@{names.point(last.snapshot)}"
    ((guid,),) = client.zfs(("get", "-Hp", "-o", "value", "guid", received), work.about)
    if guid != last.facts["guid"]:
        raise BackupError(
            "lxd.other_stream",
            f"{work.about}: what was received is not snapshot {last.snapshot}",
            "restore another snapshot with --snapshot; tb-list --snapshots names them",
        )
    client.zfs(("destroy", f"{dataset}@%"), work.about)


@contextmanager
def _out_of_the_way(work: Work, replaced: bool) -> Iterator[None]:
    """What had the target's name has another one; it gets it back where the rest fails."""
    if not replaced:
        yield
        return
    client.rename(work.wanted.target, work.aside.level3)
    try:
        yield
    except BaseException:
        client.rename(work.aside, work.wanted.target.level3)
        raise


def _drop_replaced(work: Work, replaced: bool) -> tuple[str, ...]:
    if not replaced:
        return ()
    try:
        _remove(work.aside)
    except BackupError as error:
        return (f"what it replaced is left as {work.aside.level3}: {error.message}",)
    return ()
