"""Finds the moment just before something was dropped, in the archived WAL of a cluster."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property

from three_backup.errors import BackupError
from three_backup.model.snapshots import Manifest
from three_backup.sources.jobs import Landing, MomentJob
from three_backup.sources.postgres.moments.interval import Interval
from three_backup.sources.postgres.replaying.landing import (
    Archived,
    landing_before,
    read_archived,
    starts,
)
from three_backup.sources.postgres.replaying.scan import Change, Scanner
from three_backup.sources.postgres.restoring.ground import scratch_parent
from three_backup.sources.postgres.scratch.binaries import find_binaries
from three_backup.sources.postgres.scratch.folder import scratch_folder
from three_backup.sources.postgres.scratch.server import scratch_user
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.assembly import Assembly


class DropSearch:
    """The search for drops in the archive of one cluster; WAL is read once for all of them."""

    def __init__(self, job: MomentJob) -> None:
        self._job = job
        self._known: dict[int, Interval] = {}

    @cached_property
    def _archived(self) -> Archived | None:
        return read_archived(self._job.store, self._job.carrier)

    def landing(self, pattern: str) -> Landing | None:
        """Return the landing just before the last drop of what the pattern selects.

        None where no WAL is archived. Raises BackupError if it was not dropped. Where there was no
        drop, TRUNCATE counts as one.
        """
        if self._archived is None:
            return None
        for interval in self._intervals(self._archived):
            found = interval.last_drop(pattern)
            if found is not None:
                return landing_before(interval.manifest, found)
        raise BackupError(
            "restore.not_dropped",
            f"{pattern}: no drop of it is found in the archived WAL",
            "it may have been renamed, or had another name; --at TIME brings any moment back",
        )

    def _intervals(self, archived: Archived) -> Iterator[Interval]:
        """Yield the WAL after each snapshot, the newest first; each is read but once."""
        until: int | None = None
        for start in reversed(starts(self._job.manifests, archived)):
            begin = start.span.end
            if start.stretch is not None:
                end = min(start.stretch.end, until or start.stretch.end)
                if begin not in self._known:
                    changes = self._scanned(archived, start.manifest, begin, end)
                    self._known[begin] = Interval(self._job, start.manifest, begin, end, changes)
                yield self._known[begin]
            until = begin

    def _scanned(
        self, archived: Archived, manifest: Manifest, begin: int, end: int
    ) -> Sequence[Change]:
        job, facts = self._job.revive(landing_before(manifest, end)), manifest.facts
        settings, user = job.source_settings, scratch_user(job.source_settings.scratch_user)
        binaries = find_binaries(int(facts["version"]) // 10000, settings.pg_bindir, os.environ)
        size = int(facts["wal_segment_size"])
        archive = WalArchive(self._job.store, self._job.carrier)
        assembly = Assembly(archive, archived.contents.pieces, archived.way, size)
        parent = scratch_parent(settings.scratch_dir, job.work_dir, user, make=False)
        with scratch_folder(parent, user) as folder:
            scanner = Scanner(assembly, archived.way, size, folder, user, binaries)
            return list(scanner.changes(begin, end))
