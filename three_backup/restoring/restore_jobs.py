"""Jobs for the sources: restores of what one moment answers, and looks at what was there then."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from three_backup.catalog.files import Files
from three_backup.catalog.snapshot import Snapshot
from three_backup.model.objects import ObjectId
from three_backup.pipe import Invocation
from three_backup.restoring.restore_order import Party
from three_backup.restoring.snapshot_choice import Choice
from three_backup.restoring.snapshot_finder import Held
from three_backup.restoring.turn import Turn
from three_backup.sources.jobs import Advance, Landing, RestoreJob, SqlFile, Wanted


@dataclass(frozen=True, slots=True)
class RestoreJobs:
    """The jobs of one restore."""

    invocation: Invocation
    choice: Choice
    options: Mapping[str, Any]  # for the sources
    overwrite: bool
    verify: bool = False  # have the server's own program compare all bytes
    sql_before: SqlFile | None = None  # runs before rows leave what is revived

    def of(self, party: Party, turn: Turn, *, overlaps: bool) -> RestoreJob:
        """Return the job that restores what a party wants.

        overlaps: the job takes the turn when it needs it; else it is in its turn all the time.
        """
        held = party[0].held
        at_source, chain = self._chain(held, [request.held.object.id for request in party])
        all_wanted = [request.wanted for request in party]
        job = self._job(held.snapshot, chain, all_wanted, turn.advance, turn.expect, held.landing)
        return replace(
            job,
            at_source=at_source,
            sql_before=self.sql_before,
            turn=turn.taken if overlaps else nullcontext,
        )

    def looks_at(self, party: Party, advance: Advance, expect: Advance) -> RestoreJob:
        """Return the job that has what a party wants ready to be looked at."""
        held, all_wanted = party[0].held, [request.wanted for request in party]
        at_source, chain = self._chain(held, [wanted.object for wanted in all_wanted])
        job = self._job(held.snapshot, chain, all_wanted, advance, expect, held.landing)
        return replace(job, at_source=at_source)

    def revive(self, snapshot: Snapshot, landing: Landing) -> RestoreJob:
        """Return a job that wants no object: it revives what was there at the landing."""
        return self._job(snapshot, self.choice.chain(snapshot), (), _unseen, _unseen, landing)

    def _chain(self, held: Held, objects: Sequence[ObjectId]) -> tuple[bool, Sequence[Files]]:
        """Return whether the snapshot is a point, which needs no other one, and the chain."""
        if held.is_at_source():
            return True, [held.snapshot.files()]
        return False, self.choice.chain(held.snapshot, objects)

    def _job(
        self,
        snapshot: Snapshot,
        chain: Sequence[Files],
        all_wanted: Sequence[Wanted],
        advance: Advance,
        expect: Advance,
        landing: Landing | None,
    ) -> RestoreJob:
        settings = self.invocation.configuration.source_settings(snapshot.carrier.type)
        return RestoreJob(
            wanted=all_wanted,
            chain=chain,
            overwrite=self.overwrite,
            verify=self.verify,
            source_settings=settings,
            work_dir=settings.scratch_dir or snapshot.catalog.storage.local_dir / "scratch",
            advance=advance,
            say=self.invocation.say,
            options=self.options,
            expect=expect,
            landing=landing,
            store=snapshot.catalog.s3,
        )


def _unseen(size: int) -> None:
    """Draw no bar for the bytes of a look."""
