"""LXD and Incus on ZFS as sources: what the tools see of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.findings import Finding
from three_backup.model.hashed_stream import HashedPiece, StreamIndex, index_of
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.base import Found, OpenStream, Planned, Restored, Unreadable
from three_backup.sources.comparing import CompareJob, Comparing
from three_backup.sources.jobs import (
    CheckJob,
    DrillJob,
    RestoreJob,
    Say,
    SnapshotFiles,
    SnapshotJob,
    Wanted,
)
from three_backup.sources.looking import Content, Looking
from three_backup.sources.lxd.daemon.daemons import DAEMONS, Daemon
from three_backup.sources.preparing import Preparation


class DaemonSource:
    """A daemon of this host, LXD or Incus, reached through its client."""

    kept = Kept.POINTS
    content = Content.FILES
    subtypes = ("volume", "container", "vm")
    runs_sql = False

    def __init__(self, daemon: Daemon) -> None:
        self.type = daemon.type
        self.akin = tuple(other for other in DAEMONS if other != daemon.type)
        self.programs = daemon.programs
        self._daemon = daemon

    def discover(
        self, patterns: Sequence[str], source_settings: Settings, say: Say
    ) -> Iterator[Found | Unreadable]:
        from three_backup.sources.lxd.daemon.client import client_of
        from three_backup.sources.lxd.discover import discover

        return discover(client_of(self.type), patterns)

    def broken_chain(
        self, live: Sequence[tuple[Mapping[str, Any], Settings]], newest: Manifest
    ) -> str | None:
        """Judge by the records alone. take() compares the guid of the point."""
        record, _ = live[0]
        if str(newest.snapshot) in record.get("points", ()):
            return None
        if record.get("guid") != newest.facts["dataset_guid"]:
            return "it was moved or made anew since the newest snapshot"
        restoring = self._daemon.restoring
        return f"the point of {newest.snapshot} is gone: `{restoring}` or somebody removed it"

    def definition(self, manifest: Manifest) -> Mapping[str, Any]:
        from three_backup.sources.lxd.definition import definition

        return definition(manifest.facts)

    def prepare(self, environ: Mapping[str, str]) -> Preparation:
        from three_backup.sources.lxd.daemon.client import client_of
        from three_backup.sources.lxd.prepare import prepare

        return prepare(client_of(self.type))

    def check(self, job: CheckJob) -> Iterator[Finding]:
        from three_backup.sources.lxd.check import check
        from three_backup.sources.lxd.daemon.client import client_of

        return check(client_of(self.type), job)

    def take(self, job: SnapshotJob) -> Manifest:
        from three_backup.sources.lxd.take import take

        return take(job)

    def hashes(self, files: SnapshotFiles, name: str) -> Sequence[HashedPiece]:
        """Return the pieces of a stream, whose hashes lie in a file beside it."""
        where = f"{files.manifest.carrier}: {files.manifest.snapshot}"
        return StreamIndex.from_json(files.read(index_of(name)), where).pieces

    def points(self, carrier: Carrier) -> Mapping[SnapshotId, str]:
        from three_backup.sources.lxd.datasets.points import guids

        return guids(carrier)

    def streams(self, manifest: Manifest) -> Mapping[str, OpenStream]:
        from three_backup.sources.lxd.datasets.points import streams

        return streams(manifest)

    def remove(self, carrier: Carrier, snapshot: SnapshotId) -> None:
        from three_backup.sources.lxd.datasets.points import remove

        remove(carrier, snapshot)

    def restore(self, job: RestoreJob) -> Iterator[tuple[Wanted, Restored | BackupError]]:
        from three_backup.sources.lxd.restore import restore

        return restore(job)

    def plan(self, job: RestoreJob) -> Iterator[tuple[Wanted, Planned | BackupError]]:
        from three_backup.sources.lxd.plan import plan

        return plan(job)

    def look(self, job: RestoreJob) -> AbstractContextManager[Looking]:
        from three_backup.sources.lxd.looking.look import look

        return look(job)

    def compare(self, job: CompareJob) -> AbstractContextManager[Comparing]:
        from three_backup.sources.lxd.comparing.compare import compare

        return compare(job)

    def drill(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        from three_backup.sources.lxd.drill import drill

        return drill(job)

    def read_through(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        from three_backup.sources.lxd.drill import read_through

        return read_through(job)
