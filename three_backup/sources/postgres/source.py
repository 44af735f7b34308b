"""PostgreSQL as a source, in the interface that the tools use."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.findings import Finding
from three_backup.model.hashed_stream import HashedPiece
from three_backup.model.kept import Kept
from three_backup.model.objects import ObjectId
from three_backup.model.signing import Keyring
from three_backup.model.snapshots import CarriedObject, Manifest
from three_backup.sources.base import Found, Planned, Restored, Unreadable
from three_backup.sources.comparing import CompareJob, Comparing
from three_backup.sources.jobs import (
    CheckJob,
    DrillJob,
    FolderJob,
    Landing,
    LogCopyJob,
    LogJob,
    MomentJob,
    RestoreJob,
    Say,
    SnapshotFiles,
    Wanted,
    WholeJob,
)
from three_backup.sources.logged import Log, LogCopied, LogVerdict
from three_backup.sources.looking import Content, Looking
from three_backup.sources.postgres.relations import TYPE
from three_backup.sources.preparing import Preparation


class PostgresSource:
    """A cluster of PostgreSQL 17 or later, found through `PG*`."""

    type = TYPE
    kept = Kept.FOLDERS
    content = Content.ROWS
    subtypes = ("table", "view")
    akin: tuple[str, ...] = ()
    runs_sql = True
    programs = ("pg_dump",)

    def discover(
        self, patterns: Sequence[str], source_settings: Settings, say: Say
    ) -> Iterator[Found | Unreadable]:
        from three_backup.sources.postgres.discover import discover

        return discover(patterns)

    def broken_chain(
        self, live: Sequence[tuple[Mapping[str, Any], Settings]], newest: Manifest
    ) -> str | None:
        from three_backup.sources.postgres.taking.parent import why_broken, why_risen

        return (why_broken(live[0][0], newest) if live else None) or why_risen(live, newest)

    def definition(self, manifest: Manifest) -> Mapping[str, Any]:
        """Return nothing: the catalogs of a snapshot hold the definitions."""
        return {}

    def prepare(self, environ: Mapping[str, str]) -> Preparation:
        from three_backup.sources.postgres.prepare import prepare

        return prepare(environ)

    def check(self, job: CheckJob) -> Iterator[Finding]:
        from three_backup.sources.postgres.check import check

        return check(job)

    def take(self, job: FolderJob) -> Manifest:
        from three_backup.sources.postgres.taking.backup import take

        return take(job)

    def restore(self, job: RestoreJob) -> Iterator[tuple[Wanted, Restored | BackupError]]:
        from three_backup.sources.postgres.restoring.restore import restore

        return restore(job)

    def plan(self, job: RestoreJob) -> Iterator[tuple[Wanted, Planned | BackupError]]:
        from three_backup.sources.postgres.restoring.plan import plan

        return plan(job)

    def restore_whole(self, job: WholeJob) -> Restored:
        from three_backup.sources.postgres.cluster.restore import restore_cluster

        return restore_cluster(job)

    def plan_whole(self, job: WholeJob) -> Planned:
        from three_backup.sources.postgres.cluster.restore import plan_cluster

        return plan_cluster(job)

    def landing(self, job: MomentJob) -> Landing | None:
        from three_backup.sources.postgres.replaying.landing import land, read_archived

        archived = read_archived(job.store, job.carrier)
        return None if archived is None else land(job.moment, job.manifests, archived)

    def objects_then(self, job: RestoreJob, pattern: str) -> Sequence[CarriedObject]:
        from three_backup.sources.postgres.moments.look import objects_then

        return objects_then(job, pattern)

    def reach(self, job: RestoreJob) -> Mapping[str, Any]:
        from three_backup.sources.postgres.moments.look import looked_back

        with looked_back(job) as scratch:
            return {} if scratch.reached is None else scratch.reached.facts

    def drops(self, job: MomentJob) -> Callable[[str], Landing | None]:
        from three_backup.sources.postgres.moments.drops import DropSearch

        return DropSearch(job).landing

    def drill(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        from three_backup.sources.postgres.restoring.drill import drill

        return drill(job)

    def read_through(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        from three_backup.sources.postgres.chain.read_through import read_through

        return read_through(job)

    def look(self, job: RestoreJob) -> AbstractContextManager[Looking]:
        from three_backup.sources.postgres.looking.look import look

        return look(job)

    def compare(self, job: CompareJob) -> AbstractContextManager[Comparing]:
        from three_backup.sources.postgres.comparing.compare import compare

        return compare(job)

    def hashes(self, files: SnapshotFiles, name: str) -> Sequence[HashedPiece]:
        from three_backup.sources.postgres.chain.hashes import hashes

        return hashes(files, name)

    def copy_log(self, job: LogCopyJob) -> LogCopied:
        from three_backup.sources.postgres.wal.copying import copy_log

        return copy_log(job)

    def log(self, job: LogJob) -> Log | None:
        from three_backup.sources.postgres.wal.windows import log

        return log(job)

    def sign_log(self, job: LogJob, keyring: Keyring) -> int:
        from three_backup.sources.postgres.wal.archive import WalArchive

        return WalArchive(job.store, job.carrier, signs_with=keyring).sign()

    def expendable_log(self, job: LogJob) -> Sequence[LogVerdict]:
        from three_backup.sources.postgres.wal.retention import expendable_log

        return expendable_log(job)
