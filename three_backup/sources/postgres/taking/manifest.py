"""Make the manifest of a snapshot, once its data files are written."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from three_backup.host.durable import sync_directory
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, StoredFile
from three_backup.sources.jobs import FolderJob
from three_backup.sources.lacking import DISABLED, LACKING
from three_backup.sources.postgres.index import (
    BACKUP_MANIFEST,
    CONFIGURATION,
    INDEX,
    Index,
    Tier,
)
from three_backup.sources.postgres.preflight import Cluster
from three_backup.sources.postgres.taking.damage import DAMAGED
from three_backup.sources.postgres.taking.end import End
from three_backup.sources.postgres.taking.replication import Streamed
from three_backup.sources.postgres.taking.settle import Mapped, source_size


@dataclass(frozen=True, slots=True)
class SnapshotContents:
    """The contents of the data files."""

    index: Index
    objects: Mapping[ObjectId, Mapped]  # all that either mapping knows
    carried: tuple[CarriedObject, ...]  # the objects that are promised
    lacking: Mapping[str, Mapping[str, str]]  # why other objects are not promised
    damaged: Sequence[str]  # the paths of files with wrong checksums


def make_manifest(
    job: FolderJob, cluster: Cluster, streamed: Streamed, end: End, contents: SnapshotContents
) -> Manifest:
    """Make the data files durable, and return the manifest."""
    files = tuple(_stored(path) for path in sorted(job.directory.iterdir()))
    sync_directory(job.directory)
    sizes = (source_size(file, cluster.block_size) for file in contents.index.files.values())
    return Manifest(
        carrier=job.carrier,
        snapshot=job.snapshot,
        objects=contents.carried,
        files=files,
        source_size=sum(sizes),
        stored_size=sum(stored.size for stored in files),
        facts=_facts(cluster, streamed, end, contents),
        program=job.program,
        server=cluster.server,
        host=job.host,
    )


def _stored(path: Path) -> StoredFile:
    """Make a data file durable. A pack gets no sha256: the index has those of its frames."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        is_pack = path.name not in (INDEX, BACKUP_MANIFEST, CONFIGURATION)
        sha256 = None if is_pack else hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(
            path.name, path.stat().st_size, sha256, local_only=path.name == Tier.LOCAL.pack
        )


def _facts(
    cluster: Cluster, streamed: Streamed, end: End, contents: SnapshotContents
) -> dict[str, Any]:
    """Return the manifest's facts. disabled: the ids of which nothing was stored."""
    disabled = (
        object_id for object_id, mapped in contents.objects.items() if mapped.place is Tier.NONE
    )
    return {
        "system_identifier": cluster.identifier,
        "timeline": streamed.timeline,
        "start_lsn": streamed.start_lsn,
        "end_lsn": streamed.end_lsn,
        "ended_at": end.at.isoformat(),
        "next_xid": end.next_xid,
        "in_recovery": cluster.in_recovery,
        "version": cluster.version,
        "superuser": cluster.superuser,
        "wal_segment_size": cluster.wal_segment_size,
        "block_size": cluster.block_size,
        "checksums": cluster.checksums,
        DISABLED: [str(object_id) for object_id in disabled],
        LACKING: contents.lacking,
        DAMAGED: list(contents.damaged),
    }
