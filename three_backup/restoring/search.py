"""What a tool is asked to look at, and as it was when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Self

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, readable
from three_backup.model.moment import Moment
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.pipe import Invocation
from three_backup.restoring.asked_for import asked_for, reachable
from three_backup.restoring.moments import MomentFinder, moment_of
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.restore_order import Request
from three_backup.restoring.snapshot_choice import Choice
from three_backup.restoring.snapshot_finder import Finder, Held

Failure = tuple[Record, BackupError]


@dataclass(frozen=True, slots=True)
class Search:
    """A search for objects to look at."""

    patterns: tuple[str, ...]  # none: the records on standard input
    choice: Choice  # --snapshot, --at
    moment: Moment | None  # --at, --lsn, --xid, --before-drop
    exact: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any], zone: tzinfo) -> Self:
        choice = Choice.of(arguments["--snapshot"], arguments["--at"], zone)
        return cls(
            patterns=tuple(map(readable, arguments["PATTERN"])),
            choice=choice,
            moment=moment_of(arguments, choice),
            exact=bool(arguments["--exact"]),
        )

    def jobs(self, invocation: Invocation) -> RestoreJobs:
        return RestoreJobs(invocation, self.choice, {"exact": self.exact}, overwrite=False)

    def found(
        self, invocation: Invocation, jobs: RestoreJobs
    ) -> tuple[list[Request], list[Failure]]:
        """Return what is asked for, each once, and what of it cannot be had."""
        catalogs = [reachable(invocation, catalog) for catalog in invocation.catalogs]
        requests, failures = dict[ObjectId, Request](), []
        for record, held in asked_for(invocation, self._finder(catalogs, jobs), self.patterns):
            if isinstance(held, Held):
                object_id = held.object.id
                requests[object_id] = Request(record, held, object_id)
                for note in held.notes:
                    invocation.say(f"{object_id}: {note}")
            elif held is not None:
                failures.append((record, held))
        return list(requests.values()), failures

    def _finder(self, catalogs: Sequence[Catalog], jobs: RestoreJobs) -> Finder | MomentFinder:
        finder = Finder(catalogs, self.choice)
        if self.moment is None:
            return finder
        return MomentFinder(catalogs, finder, self.moment, jobs.revive, exact=self.exact)
