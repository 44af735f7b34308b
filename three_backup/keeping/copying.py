"""Copies one snapshot from store to store: its data, each byte checked, then the manifest.

The journals of a copy lie in the folder of its store, so that a copy that is stopped goes on.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import RawIOBase

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.files import Files
from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.host.durable import sync_directory
from three_backup.keeping import by_server, locked
from three_backup.keeping.sending import Sending, Sent
from three_backup.model.checked_file import Given, checked_file
from three_backup.model.hashed_stream import PIECE, HashedPiece, read_ahead
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored, StoredFile
from three_backup.model.storage import Storage
from three_backup.s3 import multipart
from three_backup.s3.client import THREADS
from three_backup.s3.failures import RefusedError
from three_backup.s3.journal import forget
from three_backup.s3.server_copy import is_one_server, server_copy
from three_backup.s3.upload import upload
from three_backup.s3.volumes import PART_SIZE, PARTS
from three_backup.screen.progress import Transfer
from three_backup.sources.base import DirectSource, PackedSource
from three_backup.sources.jobs import CopiedKey, CopyJob


@dataclass(frozen=True, slots=True)
class Pair:
    """A carrier in the store that holds its snapshots and in the one that holds copies."""

    carrier: Carrier
    source: Catalog
    target: Catalog

    @property
    def catalogs(self) -> tuple[Catalog, Catalog]:
        return self.source, self.target

    def check_encryption(self) -> None:
        """Raise BackupError where what is encrypted would be copied as it was, unasked."""
        of, to = self.source.storage, self.target.storage
        if of.encryption_key and to.encryption_key is None and to.encryption is None:
            raise BackupError(
                "encryption.copies",
                f"{self.carrier}: store {to.store} has no encryption_key, so that what is "
                "encrypted would lie there for everybody to read",
                "give it one with encryption_key_file, or write encryption: optional there",
            )


@dataclass(frozen=True, slots=True)
class Copying:
    """A snapshot to copy."""

    pair: Pair
    chain: Sequence[SnapshotId]  # the base first, itself last; its parents are in the target
    settings: Settings
    progress: Transfer

    @property
    def carrier(self) -> Carrier:
        return self.pair.carrier

    @property
    def source(self) -> Catalog:
        return self.pair.source

    @property
    def target(self) -> Catalog:
        return self.pair.target

    @property
    def storages(self) -> tuple[Storage, Storage]:
        return self.source.storage, self.target.storage

    def files(self) -> Files:
        return self.source.files(self.carrier, _in_s3(self.chain[-1]))

    def manifests(self) -> list[Manifest]:
        return [self.source.manifest(self.carrier, _in_s3(link)) for link in self.chain]


def copy_files(source: PackedSource, job: Copying) -> Sent:
    """Copy a snapshot whose manifest lists its files."""
    files = job.files()
    _begin(job)

    def checked(file: StoredFile) -> Iterator[bytes]:
        pieces = _hashes(source, files, file)
        read_range = partial(files.read_range, file.name)
        return checked_file(pieces, read_range, _called(job, file))

    def opened(file: StoredFile) -> RawIOBase:
        return Given(checked(file))

    manifest = files.manifest
    sent = None
    if by_server.can_copy(job.source, job.target, manifest):
        with suppress(RefusedError):
            parts = job.source, job.target, manifest, checked, job.progress
            sent = by_server.copy_volumes(*parts)
    sent = sent or Sending(job.target, manifest, job.progress).copied(opened)
    _clear(job)
    return sent


def _called(job: Copying, file: StoredFile) -> str:
    return f"{job.carrier}: snapshot {job.chain[-1]}: {file.name}"


def copy_keys(source: DirectSource, job: Copying) -> Sent:
    """Copy a snapshot of whose keys only its source knows the names."""
    manifests, bucket = job.manifests(), job.target.bucket
    asked = CopyJob(manifests, job.source.bucket, bucket, job.settings)
    keys = list(source.copied(asked))
    *data, last = keys
    folder = last.key.rpartition("/")[0]
    there = {found.key: found.size for found in bucket.all_keys(f"{folder}/")}
    lacking = [key for key in data if there.get(key.key) != key.size]
    resumed = sum(key.size for key in data) - sum(key.size for key in lacking)
    job.progress.resumed(resumed)
    _begin(job)
    large = [key for key in lacking if not _is_small(key)]
    for key in large if not is_one_server(*job.storages) else _left_by_server(job, large):
        _copy_large(job, key)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="copy") as pool:
        for _ in pool.map(partial(_copy_small, job), filter(_is_small, lacking)):
            pass
    _copy_small(job, last)
    written = locked.commit(job.target, manifests[-1])
    _clear(job)
    return Sent(sum(key.size for key in keys) + written, resumed)


def _is_small(key: CopiedKey) -> bool:
    return key.size <= PART_SIZE


def _copy_small(job: Copying, key: CopiedKey) -> None:
    body = key.body
    if body is None:
        body = job.source.bucket.read_range(key.key, 0, key.size)
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    multipart.send_whole(job.target.bucket, key.key, bytearray(body), md5)
    job.progress(len(body))


def _left_by_server(job: Copying, keys: Sequence[CopiedKey]) -> Iterator[CopiedKey]:
    """Have the server copy large keys; yield those that it refuses, or that we have to make."""
    for key in keys:
        if key.body is None:
            with suppress(RefusedError):
                server_copy(job.source.bucket, job.target.bucket, key.key, key.size)
                job.progress(key.size)
                continue
        yield key


def _copy_large(job: Copying, key: CopiedKey) -> None:
    name = hashlib.sha256(key.key.encode()).hexdigest()[:32]
    journal = job.target.local.journals(job.carrier, job.chain[-1]) / f"{name}.journal"
    bodies = read_ahead(key.size, PIECE, partial(job.source.bucket.read_range, key.key))
    part_size = max(PART_SIZE, -(-key.size // PARTS))
    upload(
        job.target.bucket,
        key.key,
        Given(bodies),
        key.size,
        journal,
        job.progress,
        part_size,
        resume=job.progress.resumed,
        whole=True,
    )
    forget(journal)


def _hashes(source: PackedSource, files: Files, file: StoredFile) -> Sequence[HashedPiece]:
    if file.sha256 is None:
        return source.hashes(files, file.name)
    return [HashedPiece(file.size, file.sha256)]


def _in_s3(snapshot: SnapshotId) -> Stored:
    return Stored(snapshot, local=False, s3=True)


def _begin(job: Copying) -> None:
    """Make the folder of the journals, by which begun_copies finds what was begun."""
    folder = job.target.local.journals(job.carrier, job.chain[-1])
    folder.mkdir(parents=True, exist_ok=True)
    sync_directory(folder.parent)


def _clear(job: Copying) -> None:
    """Remove the folder of the journals, unless it has some of an earlier configuration."""
    with suppress(OSError):
        job.target.local.journals(job.carrier, job.chain[-1]).rmdir()
