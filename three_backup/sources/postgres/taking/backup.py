"""Takes a snapshot of a cluster: one stream from the server, split into packs as it comes.

The mapping of files to objects is read before the stream and after it. What both agree on is in
its place already; the rest is moved to where the stricter of the two wants it.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from three_backup.durable import sync_directory
from three_backup.errors import BackupError, UnreachableError
from three_backup.objects import ObjectId, escape
from three_backup.snapshots import Manifest, SnapshotId, StoredFile, stamp
from three_backup.sources.base import NothingToTakeError, ParentUnusableError
from three_backup.sources.jobs import SnapshotJob
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.classes import Classes, place_of
from three_backup.sources.postgres.connection import connect, connect_replication
from three_backup.sources.postgres.index import (
    BACKUP_MANIFEST,
    CONFIGURATION,
    INDEX,
    File,
    Index,
    Place,
)
from three_backup.sources.postgres.mapping import FileMap, read_map
from three_backup.sources.postgres.pack import compress_file
from three_backup.sources.postgres.preflight import (
    SUMMARIZE,
    Cluster,
    check_backup,
    position,
    read_cluster,
)
from three_backup.sources.postgres.relations import TYPE
from three_backup.sources.postgres.taking import server_manifest
from three_backup.sources.postgres.taking.configuration import read_configuration
from three_backup.sources.postgres.taking.packing import PackedGroup, PackWriter
from three_backup.sources.postgres.taking.parent import (
    Parent,
    read_parent,
    refuse_risen,
    refuse_unfollowable,
    unusable,
)
from three_backup.sources.postgres.taking.replication import (
    Streamed,
    identify,
    reserve_wal,
    stream_backup,
    upload_manifest,
)
from three_backup.sources.postgres.taking.settle import (
    Mapped,
    carried_objects,
    objects_of,
    settle_files,
    source_size,
)
from three_backup.sources.postgres.taking.split import Archives, Splitter, server_path

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_MOST_THREADS = 4
# Every summary of WAL ends where a checkpoint began, and a backup begins at a checkpoint. So a
# server that was set back and went on since has no summary that begins where its parent began.
_SUMMARY = "SELECT EXISTS (SELECT FROM pg_available_wal_summaries() WHERE start_lsn = %s::pg_lsn)"
_OF_UNKNOWN = {
    Place.S3: "its tables are stored, but cannot be restored one by one",
    Place.LOCAL: "its tables stay on this host, because some table has to and may be among them",
    Place.NONE: "its tables are left out, because some table is disabled and may be among them",
}


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A stream that has ended well, with its bytes in packs."""

    streamed: Streamed
    manifest: bytes
    files: list[File]
    directories: list[str]
    packed: list[PackedGroup]


def take(job: SnapshotJob) -> Manifest:
    """Fill job.directory with the data files of a snapshot, durably, and say what is in them."""
    with connect() as connection:
        cluster = read_cluster(connection)
        configuration = read_configuration(connection)
    _check(cluster, job)
    parent = None if job.parent is None else read_parent(job.parent, cluster.facts)
    before = read_map()
    classes = _classes(job, before)
    if parent is not None:
        refuse_risen(parent, classes)
    arrived = _receive(job, cluster, parent, before, classes)
    after = read_map()
    server_manifest.verify(
        arrived.manifest,
        ((server_path(file), file.size, file.crc32c) for file in arrived.files),
    )
    classes = _classes(job, before, after)
    _say_unread(job, {**before.unread, **after.unread}, classes)
    objects = objects_of(before, after, classes)
    index = _index(job.directory, arrived, objects, classes)
    if parent is not None:
        _check_followed(parent, index, arrived.streamed)
    (job.directory / INDEX).write_bytes(index_file.dump(index))
    (job.directory / BACKUP_MANIFEST).write_bytes(compress_file(arrived.manifest))
    (job.directory / CONFIGURATION).write_bytes(compress_file(configuration.to_json()))
    return _manifest(job, cluster, arrived.streamed, index, objects)


def _check(cluster: Cluster, job: SnapshotJob) -> None:
    check_backup(cluster)
    if cluster.carrier != job.carrier:
        raise BackupError(
            "postgres.other_cluster",
            f"{job.carrier}: the server that answers is {cluster.carrier}",
            "set PGHOST and PGPORT to the server that was discovered",
        )
    if not cluster.summarize_wal:
        job.say(
            f"{job.carrier}: summarize_wal is off, so that no incremental can follow: {SUMMARIZE}"
        )


def _classes(job: SnapshotJob, *maps: FileMap) -> Classes:
    prefixes = [
        f"{TYPE}/{subtype}/{escape(name)}"
        for name in {name for found in maps for name in found.unread}
        for subtype in ("table", "view")
    ]
    below = (settings for prefix in prefixes for settings in job.settings_below(prefix))
    return Classes(maps, job.settings, map(place_of, below))


def _say_unread(job: SnapshotJob, unread: Mapping[str, BackupError], classes: Classes) -> None:
    """What becomes of tables whose names, and so their settings, are not known."""
    for error in unread.values():
        job.say(f"{job.carrier}: {error.message}; {_OF_UNKNOWN[classes.unknown]}; {error.hint}")


def _receive(
    job: SnapshotJob, cluster: Cluster, parent: Parent | None, before: FileMap, classes: Classes
) -> _Arrived:
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    level = job.source_settings.compression_level
    with PackWriter(job.directory, level, threads) as packs:
        splitter = Splitter(packs, before, classes, parent.index.files if parent else {})
        archives = Archives(splitter, job.advance, job.expect)
        try:
            with connect_replication() as connection:
                streamed = _stream(connection, job.snapshot, cluster, parent, archives)
        except UnreachableError as error:
            raise _ended(error, cluster) from error
        return _Arrived(
            streamed, archives.finish(), splitter.files, splitter.directories, packs.finish()
        )


def _stream(
    connection: "Connection",
    snapshot: SnapshotId,
    cluster: Cluster,
    parent: Parent | None,
    archives: Archives,
) -> Streamed:
    identity = identify(connection)
    if identity.identifier != cluster.identifier:
        raise BackupError(
            "postgres.other_cluster",
            f"{cluster.carrier}: replication connections reach another cluster",
            "set PGHOST to one host only",
        )
    reserve_wal(connection, f"three_backup_{stamp(snapshot.time).lower()}")
    try:
        if parent is not None:
            upload_manifest(connection, parent.server_manifest)
        return stream_backup(connection, f"three_backup {snapshot}", parent is not None, archives)
    except ParentUnusableError as error:
        if parent is not None and cluster.in_recovery and _is_behind(parent):
            raise NothingToTakeError(
                "postgres.idle_standby",
                f"{cluster.carrier}: the standby has not got past its newest snapshot yet",
                "nothing has to be done",
            ) from error
        raise


def _ended(error: UnreachableError, cluster: Cluster) -> BackupError:
    """Why the connection broke: the error itself, or where the server lives, what it did."""
    try:
        with connect():
            return BackupError(
                "postgres.ended",
                f"{cluster.carrier}: the server ended the backup in the middle",
                "raise max_slot_wal_keep_size if its log says so; then take the snapshot again",
            )
    except UnreachableError:
        return error


def _is_behind(parent: Parent) -> bool:
    """Whether the next backup of the standby would begin before the parent ends."""
    with connect() as connection:
        return position(read_cluster(connection).redo) < parent.end


def _index(
    directory: Path, arrived: _Arrived, objects: dict[ObjectId, Mapped], classes: Classes
) -> Index:
    files, groups = settle_files(directory, arrived.files, arrived.packed, classes)
    return Index(
        files,
        groups,
        {id: mapped.relations for id, mapped in objects.items()},
        tuple(arrived.directories),
        arrived.streamed.tablespaces,
    )


def _check_followed(parent: Parent, index: Index, streamed: Streamed) -> None:
    """Raises ParentUnusableError where the increment that came is none of this parent."""
    refuse_unfollowable(parent, index.files)
    if streamed.timeline != parent.manifest.facts["timeline"]:
        raise unusable(f"the server switched to timeline {streamed.timeline} meanwhile")
    with connect() as connection:
        ((follows,),) = connection.execute(_SUMMARY, (parent.start_lsn,))
    if not follows:
        raise unusable(f"the server knows no checkpoint at {parent.start_lsn}, where it began")


def _manifest(
    job: SnapshotJob,
    cluster: Cluster,
    streamed: Streamed,
    index: Index,
    objects: dict[ObjectId, Mapped],
) -> Manifest:
    files = tuple(_stored(path) for path in sorted(job.directory.iterdir()))
    sync_directory(job.directory)
    return Manifest(
        carrier=job.carrier,
        snapshot=job.snapshot,
        objects=carried_objects(objects, index.files, cluster.block_size),
        files=files,
        source_size=sum(source_size(file, cluster.block_size) for file in index.files.values()),
        stored_size=sum(stored.size for stored in files),
        facts=_facts(cluster, streamed, objects),
        program=job.program,
        server=cluster.server,
        host=job.host,
    )


def _stored(path: Path) -> StoredFile:
    """A data file made durable. The frames of packs have their hashes in the index."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        is_pack = path.name not in (INDEX, BACKUP_MANIFEST, CONFIGURATION)
        sha256 = None if is_pack else hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(
            path.name, path.stat().st_size, sha256, local_only=path.name == Place.LOCAL.pack
        )


def _facts(
    cluster: Cluster, streamed: Streamed, objects: dict[ObjectId, Mapped]
) -> dict[str, Any]:
    """disabled: the ids of which nothing was stored."""
    return {
        "system_identifier": cluster.identifier,
        "timeline": streamed.timeline,
        "start_lsn": streamed.start_lsn,
        "end_lsn": streamed.end_lsn,
        "in_recovery": cluster.in_recovery,
        "version": cluster.version,
        "superuser": cluster.superuser,
        "wal_segment_size": cluster.wal_segment_size,
        "block_size": cluster.block_size,
        "checksums": cluster.checksums,
        "disabled": [str(id) for id, mapped in objects.items() if mapped.place is Place.NONE],
    }
