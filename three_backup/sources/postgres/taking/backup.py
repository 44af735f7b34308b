"""Take a snapshot of a cluster: one stream from the server, split into packs as it comes.

The mapping of files to objects is read before the stream and after it. Where the two differ, the
bytes are moved afterwards to the stricter place.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.snapshots import Manifest, SnapshotId, stamp
from three_backup.sources.base import NothingToTakeError, ParentUnusableError
from three_backup.sources.jobs import FolderJob
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.classes import Classes
from three_backup.sources.postgres.connection import ENDED, connect, connect_replication
from three_backup.sources.postgres.index import (
    BACKUP_MANIFEST,
    CONFIGURATION,
    INDEX,
    File,
    Index,
)
from three_backup.sources.postgres.mapping import FileMap, read_map
from three_backup.sources.postgres.pack import FRAME_SIZE, INCREMENT_FRAME_SIZE, compress_file
from three_backup.sources.postgres.preflight import (
    SUMMARIZE,
    Cluster,
    check_backup,
    read_cluster,
)
from three_backup.sources.postgres.replication import identify
from three_backup.sources.postgres.taking import server_manifest
from three_backup.sources.postgres.taking.damage import (
    damaged_files,
    damaged_objects,
    sentences,
)
from three_backup.sources.postgres.taking.end import read_end
from three_backup.sources.postgres.taking.manifest import SnapshotContents, make_manifest
from three_backup.sources.postgres.taking.packing import PackedGroup, PackWriter
from three_backup.sources.postgres.taking.parent import (
    Parent,
    read_parent,
    refuse_risen,
    refuse_unfollowable,
    unusable,
)
from three_backup.sources.postgres.taking.promise import Doubts, lacking
from three_backup.sources.postgres.taking.read_configuration import read_configuration
from three_backup.sources.postgres.taking.replication import (
    Streamed,
    reserve_wal,
    stream_backup,
    upload_manifest,
)
from three_backup.sources.postgres.taking.settle import (
    carried_objects,
    objects_of,
    settle_files,
    uncertain_objects,
)
from three_backup.sources.postgres.taking.split import Archives, Splitter, server_path
from three_backup.sources.postgres.taking.tablespaces import (
    live_tablespaces,
    refuse_new_tablespaces,
)
from three_backup.sources.postgres.taking.unread import classes_of, say_unread, unread_of
from three_backup.sources.postgres.wal.names import position

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_MOST_THREADS = 4
# Every WAL summary ends where a checkpoint began, and a backup begins at a checkpoint. So a server
# that was set back and ran on has no summary that begins where the parent began.
_SUMMARY = "SELECT EXISTS (SELECT FROM pg_available_wal_summaries() WHERE start_lsn = %s::pg_lsn)"


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A stream that has ended well, with its bytes in packs."""

    streamed: Streamed
    manifest: bytes  # made by the server
    files: list[File]
    directories: list[str]
    packed: list[PackedGroup]


def take(job: FolderJob) -> Manifest:
    """Fill job.directory with a snapshot's data files, durably, and return its manifest."""
    with connect() as connection:
        cluster = read_cluster(connection)
        configuration = read_configuration(connection)
    _check(cluster, job)
    parent = None if job.parent is None else read_parent(job.parent, cluster.facts)
    before = read_map()
    classes = classes_of(job, before)
    if parent is not None:
        refuse_risen(parent, classes)
    tablespaces = live_tablespaces()
    arrived = _receive(job, cluster, parent, before, classes)
    end = read_end()
    after = read_map()
    refuse_new_tablespaces(job.carrier, tablespaces, arrived.streamed.tablespaces)
    server_manifest.verify(
        arrived.manifest,
        ((server_path(file), file.size, file.crc32c) for file in arrived.files),
    )
    classes = classes_of(job, before, after)
    say_unread(job, unread_of(before, after), classes)
    contents = _contents(job, cluster, parent, arrived, (before, after), classes)
    if parent is not None:
        _check_followed(parent, contents.index, arrived.streamed)
    (job.directory / INDEX).write_bytes(index_file.dump(contents.index))
    (job.directory / BACKUP_MANIFEST).write_bytes(compress_file(arrived.manifest))
    (job.directory / CONFIGURATION).write_bytes(compress_file(configuration.to_json()))
    return make_manifest(job, cluster, arrived.streamed, end, contents)


def _check(cluster: Cluster, job: FolderJob) -> None:
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


def _receive(
    job: FolderJob, cluster: Cluster, parent: Parent | None, before: FileMap, classes: Classes
) -> _Arrived:
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    level = job.source_settings.compression_level
    frame_size = FRAME_SIZE if parent is None else INCREMENT_FRAME_SIZE
    with PackWriter(job.directory, level, threads, frame_size) as packs:
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
        return stream_backup(
            connection, f"three_backup {snapshot}", archives, incremental=parent is not None
        )
    except ParentUnusableError as error:
        if parent is not None and cluster.in_recovery and _is_behind(parent):
            raise NothingToTakeError(
                "postgres.idle_standby",
                f"{cluster.carrier}: the standby has not got past its newest snapshot yet",
                "nothing has to be done",
            ) from error
        raise


def _ended(error: UnreachableError, cluster: Cluster) -> BackupError:
    """Return the error itself; if the server still answers, say that it ended the backup."""
    try:
        with connect():
            return BackupError(
                ENDED,
                f"{cluster.carrier}: the server ended the backup in the middle",
                "raise max_slot_wal_keep_size if its log says so; then take the snapshot again",
            )
    except UnreachableError:
        return error


def _is_behind(parent: Parent) -> bool:
    """Tell whether the standby's next backup would begin before the parent ends."""
    with connect() as connection:
        return position(read_cluster(connection).redo) < parent.end


def _contents(
    job: FolderJob,
    cluster: Cluster,
    parent: Parent | None,
    arrived: _Arrived,
    maps: tuple[FileMap, FileMap],
    classes: Classes,
) -> SnapshotContents:
    """Move every file to its final place, and decide which objects the snapshot promises."""
    before, after = maps
    objects = objects_of(before, after, classes)
    files, groups = settle_files(job.directory, arrived.files, arrived.packed, classes)
    index = Index(
        files,
        groups,
        {object_id: mapped.relations for object_id, mapped in objects.items()},
        tuple(arrived.directories),
        arrived.streamed.tablespaces,
    )
    damaged = damaged_files(arrived.streamed, parent, files)
    older = parent.index.files if parent else {}
    doubts = Doubts(
        damaged_objects(objects, damaged),
        uncertain_objects(objects, files.keys() - older.keys(), classes),
    )
    for sentence in sentences(damaged, doubts.damaged):
        job.say(f"{job.carrier}: {sentence}")
    carried = carried_objects(objects, doubts, files, cluster.block_size)
    unread = tuple(unread_of(before, after).values())
    why = lacking(after, unread, carried, doubts, job.settings)
    return SnapshotContents(index, objects, carried, why, tuple(damaged))


def _check_followed(parent: Parent, index: Index, streamed: Streamed) -> None:
    """Raise ParentUnusableError if the received incremental does not follow this parent."""
    refuse_unfollowable(parent, index.files)
    if streamed.timeline != parent.manifest.facts["timeline"]:
        raise unusable(f"the server switched to timeline {streamed.timeline} meanwhile")
    with connect() as connection:
        ((follows,),) = connection.execute(_SUMMARY, (parent.start_lsn,))
    if not follows:
        raise unusable(f"the server knows no checkpoint at {parent.start_lsn}, where it began")
