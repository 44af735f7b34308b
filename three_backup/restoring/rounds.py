"""Has the sources restore, and yields what came of it in the order of the requests.

Where a source lets its jobs overlap, one is read from S3 while those before it are checked and
moved to their targets. What others may refer to is there before these begin.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, Lock

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError
from three_backup.keeping import keeping_of
from three_backup.pipe import Invocation, translated
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.restore_order import Party, Request, subtype_rank
from three_backup.restoring.turn import Turn
from three_backup.sources.base import Planned, Restored, Restorer
from three_backup.sources.jobs import RestoreJob, Wanted

Outcome = tuple[Request, Restored | Planned | BackupError]

_AT_ONCE = 3
"""One has its turn, one is checked, and one is checked, too, or prepared for its turn."""
_SLICE = 1.0  # a signal that comes just before the process sleeps is handled only afterwards


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds of one restore. dry_run: nothing is restored, only looked at."""

    invocation: Invocation
    jobs: RestoreJobs
    dry_run: bool
    # One for a whole restore: what it knows of its server is not asked again for each object.
    _restorers: dict[tuple[str, Catalog], Restorer] = field(default_factory=dict)

    def outcomes(self, all_parties: Sequence[Party]) -> Iterator[Outcome]:
        """Restore what all parties want, and yield the outcome of each request."""
        begun: deque[Future[list[Outcome]]] = deque()
        before = -1
        with ThreadPoolExecutor(_AT_ONCE, "restore") as pool:
            for party, turn in zip(all_parties, self._turns(all_parties), strict=True):
                overlaps, rank = self._overlaps(party), subtype_rank(party)
                most = _AT_ONCE - 1 if overlaps and rank == before else 0
                while len(begun) > most:
                    yield from _awaited(begun.popleft())
                before = rank
                if overlaps:
                    begun.append(pool.submit(self._all_of, party, turn))
                else:
                    with turn.taken():
                        yield from self._of(party, turn)
            for left in begun:
                yield from _awaited(left)

    def _turns(self, all_parties: Sequence[Party]) -> Iterator[Turn]:
        one_at_a_time, after = Lock(), Event()
        after.set()
        for number, party in enumerate(all_parties, start=1):
            place = f"{number}/{len(all_parties)} " if len(all_parties) > 1 else ""
            label = f"{place}{party[0].held.snapshot.carrier}"
            turn = Turn(one_at_a_time, after, partial(self.invocation.bar, label, None))
            after = turn.over
            yield turn

    def _overlaps(self, party: Party) -> bool:
        return not self.dry_run and keeping_of(party[0].held.object.id.type).overlaps

    def _all_of(self, party: Party, turn: Turn) -> list[Outcome]:
        try:
            return list(self._of(party, turn))
        finally:
            turn.over.set()  # where it failed before

    def _of(self, party: Party, turn: Turn) -> Iterator[Outcome]:
        """Restore the objects of one snapshot together, and yield their outcomes."""
        left = {request.wanted: request for request in party}
        snapshot, started = party[0].held.snapshot, time.monotonic()
        mended = snapshot.catalog.mended.counted()
        try:
            with translated(), self._undisturbed(snapshot):
                job = self.jobs.of(party, turn, overlaps=self._overlaps(party))
                for wanted, outcome in self._acted(snapshot.catalog, job):
                    if isinstance(outcome, Restored):
                        seconds = round(time.monotonic() - started - turn.waited, 3)
                        facts = {"seconds": seconds, **mended(), **outcome.facts}
                        outcome = replace(outcome, facts=facts)
                    elif isinstance(outcome, Planned):
                        links = [str(files.manifest.snapshot) for files in job.chain]
                        outcome = replace(outcome, facts={"chain": links, **outcome.facts})
                    yield left.pop(wanted), outcome
        except BackupError as error:
            yield from ((request, error) for request in left.values())

    def _undisturbed(self, snapshot: Snapshot) -> AbstractContextManager[object]:
        """Keep others from removing snapshots meanwhile; a dry run leaves not even a lock file."""
        return nullcontext() if self.dry_run else snapshot.undisturbed()

    def _acted(
        self, catalog: Catalog, job: RestoreJob
    ) -> Iterator[tuple[Wanted, Restored | Planned | BackupError]]:
        source_type = job.wanted[0].object.type
        restorer = self._restorers.setdefault(
            (source_type, catalog), keeping_of(source_type).restorer(catalog)
        )
        return restorer.plan(job) if self.dry_run else restorer.restore(job)


def _awaited(begun: Future[list[Outcome]]) -> list[Outcome]:
    while not wait((begun,), _SLICE).done:
        pass
    return begun.result()
