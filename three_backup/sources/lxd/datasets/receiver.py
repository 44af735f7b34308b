"""The datasets that get the streams of a snapshot, whoever made them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from three_backup.errors import BackupError
from three_backup.model import hashed_stream
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.jobs import Advance, SnapshotFiles
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client, client_of
from three_backup.sources.lxd.daemon.failures import OthersError
from three_backup.sources.lxd.datasets import encryption, points
from three_backup.sources.lxd.datasets.encryption import Lock

_T = TypeVar("_T")
_TRIES = 3
_RECEIVE = ("receive", "-u", "-F")
_QUOTA = re.compile(r"(?:ref)?(?:quota|reservation)")
_NOT_GIVEN = re.compile(rf"{_QUOTA.pattern}|vol(?:size|blocksize)|encryption|key.*|pbkdf2.*")
"""Properties that no received dataset gets: they come with the stream, or from set_quotas()."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One stream of a snapshot in S3."""

    size: int  # bytes
    pieces: Iterator[bytes]  # each of them checked


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that gets one stream."""

    stream: str  # its name
    name: str
    properties: Mapping[str, str]  # its own ones

    def receiving(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the arguments with which `zfs` receives a stream of the snapshot."""
        given = {
            name: value
            for name, value in self.properties.items()
            if not _NOT_GIVEN.fullmatch(name)
        }
        options = (word for pair in _pairs(given) for word in ("-o", pair))
        return (*_RECEIVE, *options, f"{self.name}@{names.point(snapshot)}")

    @property
    def quotas(self) -> dict[str, str]:
        """Quotas and reservations, where there are any."""
        return {
            name: value
            for name, value in self.properties.items()
            if _QUOTA.fullmatch(name) and value not in ("0", "none")
        }


@dataclass(frozen=True, slots=True)
class Receiver:
    """The datasets of one object, that of its data first."""

    target: ObjectId
    datasets: Sequence[Dataset]
    lock: Lock | None  # of their pool

    def receive(self, chain: Sequence[SnapshotFiles], advance: Advance) -> int:
        """Receive a chain from S3, and return the bytes that were received."""
        received = (
            self._receive(dataset, partial(self._feed, dataset, files, advance))
            for files in chain
            for dataset in self.datasets
        )
        read = sum(received)
        if self.lock is not None and chain[-1].manifest.facts["encrypted"]:
            for dataset in self.datasets:
                encryption.unlock(self._client, self.lock, dataset.name, str(self.target))
        return read

    def copy(self, source: ObjectId, snapshot: SnapshotId) -> int:
        """Copy a point within this host, and return the bytes that were copied."""
        sent = points.copied(source, snapshot)
        for dataset in self.datasets:
            argv, receiving = sent[dataset.stream].argv(), dataset.receiving(snapshot)
            copy = partial(self._client.pipe_zfs, argv, receiving, str(self.target))
            self._receive(dataset, copy)
        return points.size_to_send(source, sent.values())

    def settle(self, first: Manifest, last: Manifest) -> None:
        """Check what was received, then drop our snapshots."""
        self.check(last)
        self.drop(first, last)

    def drop(self, first: Manifest, last: Manifest) -> None:
        """Drop our snapshots."""
        ours = f"{names.point(first.snapshot)}%{names.point(last.snapshot)}"
        for dataset in self.datasets:
            self._zfs("destroy", f"{dataset.name}@{ours}")

    def check(self, last: Manifest) -> None:
        """Compare the guids of what was received with the manifest. Raises BackupError."""
        received = [f"{dataset.name}@{names.point(last.snapshot)}" for dataset in self.datasets]
        rows = self._zfs("get", "-Hp", "-o", "name,value", "guid", *received)
        guids = dict(rows)
        if points.joined(guids[name] for name in received) != last.facts["guid"]:
            raise BackupError(
                f"{self.target.type}.other_stream",
                f"{self.target}: what was received is not snapshot {last.snapshot}",
                "restore another snapshot with --snapshot; tb-list --snapshots names them",
            )

    def clear_the_way(self) -> None:
        """Let the datasets that the daemon made take what comes.

        What changed between two received snapshots counts against a quota. ZFS receives an
        encrypted dataset only as a new one, never over another.
        """
        for dataset in self.datasets:
            if self.lock is not None:
                self._zfs("destroy", "-r", dataset.name)
            elif dataset.quotas:
                self._zfs("set", *_pairs(dict.fromkeys(dataset.quotas, "none")), dataset.name)

    def set_quotas(self) -> None:
        """Set the quotas as the daemon made them."""
        for dataset in self.datasets:
            if dataset.quotas:
                self._zfs("set", *_pairs(dataset.quotas), dataset.name)

    @property
    def _client(self) -> Client:
        return client_of(self.target.type)

    def _receive(self, dataset: Dataset, receive: Callable[[], _T]) -> _T:
        """Receive into a dataset that is empty but for snapshots of others.

        They may make some meanwhile (sanoid, zfs-auto-snapshot), which ZFS does not overwrite.
        """
        for _ in range(_TRIES):
            with suppress(OthersError):
                return receive()
            self._zfs("destroy", f"{dataset.name}@%")
        return receive()

    def _feed(self, dataset: Dataset, files: SnapshotFiles, advance: Advance) -> int:
        stored = read_stream(files, dataset.stream, advance)
        receiving = dataset.receiving(files.manifest.snapshot)
        self._client.feed_zfs(receiving, stored.pieces, str(self.target))
        return stored.size

    def _zfs(self, *argv: str) -> list[list[str]]:
        return self._client.zfs(argv, str(self.target))


def read_stream(files: SnapshotFiles, stream: str, advance: Advance) -> Stored:
    """Open a stream of a snapshot."""
    where = f"{files.manifest.carrier}: snapshot {files.manifest.snapshot}"
    body = files.read(hashed_stream.index_of(stream))
    index = hashed_stream.StreamIndex.from_json(body, where)

    def read_range(offset: int, length: int) -> bytes:
        return files.read_range(stream, offset, length, (index.piece_at(offset),))

    pieces = hashed_stream.read_ahead(index.size, index.piece, read_range)
    return Stored(index.size, _advancing(pieces, advance))


def _advancing(stored: Iterator[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in stored:
        yield piece
        advance(len(piece))


def _pairs(properties: Mapping[str, str]) -> Iterable[str]:
    return (f"{name}={value}" for name, value in properties.items())
