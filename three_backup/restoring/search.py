"""The objects that a tool is asked to look at, and the moment that is meant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Self

from three_backup.errors import BackupError, readable
from three_backup.model.moment import Moment
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.model.snapshots import SnapshotId
from three_backup.pipe import Invocation
from three_backup.restoring.asked_for import asked_for, reachable
from three_backup.restoring.moments import MomentFinder, moment_of
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.restore_order import Request
from three_backup.restoring.snapshot_choice import Choice
from three_backup.restoring.snapshot_finder import Finder, Held


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

    @classmethod
    def at(cls, text: str | None, patterns: Sequence[str], zone: tzinfo, *, exact: bool) -> Self:
        """Search at a snapshot or a time, whichever the text names; None: at the newest one."""
        if text is not None and SnapshotId.parse(text) is not None:
            choice = Choice.of(text, None, zone)
        else:
            choice = Choice.of(None, text, zone)
        moment = None if choice.at is None else Moment(choice.at)
        return cls(tuple(map(readable, patterns)), choice, moment, exact)

    def jobs(self, invocation: Invocation) -> RestoreJobs:
        return RestoreJobs(invocation, self.choice, {"exact": self.exact}, overwrite=False)

    def found(
        self, invocation: Invocation, jobs: RestoreJobs
    ) -> tuple[list[Request], list[Record]]:
        """Return what is asked for, each once, and the records of what cannot be had.

        Raises BackupError where nothing is asked for.
        """
        requests, others = dict[ObjectId, Request](), list[Record]()
        for record, held in asked_for(invocation, self.finder(invocation, jobs), self.patterns):
            if isinstance(held, Held):
                object_id = held.object.id
                requests[object_id] = Request(record, held, object_id)
                for note in held.notes:
                    invocation.say(f"{object_id}: {note}")
            else:
                others.append(record if held is None else invocation.fail(record, held))
        if not requests and not others:
            raise BackupError(
                "look.nothing",
                "no records came on standard input, so that nothing is looked at",
                "name what to look at, or feed what tb-discover --stored prints",
            )
        return list(requests.values()), others

    def finder(self, invocation: Invocation, jobs: RestoreJobs) -> Finder | MomentFinder:
        catalogs = [reachable(invocation, catalog) for catalog in invocation.catalogs]
        finder = Finder(catalogs, self.choice)
        if self.moment is None:
            return finder
        return MomentFinder(catalogs, finder, self.moment, jobs.revive, exact=self.exact)
