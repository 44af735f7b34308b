"""Has the sources compare objects at two moments, once for all that the same moments answer."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from three_backup.errors import BackupError
from three_backup.keeping import keeping_of
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.pipe import Invocation, translated
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.restore_order import Request
from three_backup.restoring.snapshot_finder import Held
from three_backup.screen.progress import Transfer
from three_backup.sources.comparing import CompareJob, Comparing
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.looking import LookedInto


@dataclass(frozen=True, slots=True)
class Pair:
    """An object at two moments."""

    record: Record
    earlier: Held
    later: Held | None  # None: as the live server has it

    @property
    def id(self) -> ObjectId:
        return self.earlier.object.id

    @property
    def moments(self) -> object:
        """A key that is equal for all that is compared at the same moments."""
        return self.earlier.moment, self.later and self.later.moment


Outcome = tuple[Record, BackupError | None]
"""The record of an object, and why it could not be compared."""

Compared = Callable[["AtHand", Sequence[Pair]], Iterator[Outcome]]
"""Compares the objects of a party. Raises BackupError for all that are left."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """The comparisons of one run."""

    invocation: Invocation
    earlier: RestoreJobs
    later: RestoreJobs | None  # None: as the live server has it
    repairs: bool = False  # statements that undo the difference are wanted

    def done(self, pairs: Iterable[Pair], compared: Compared) -> Iterator[Outcome]:
        """Compare each pair; yield its outcome."""
        parties: dict[object, list[Pair]] = {}
        for pair in pairs:
            parties.setdefault(pair.moments, []).append(pair)
        for party in parties.values():
            left = {pair.id: pair.record for pair in party}
            try:
                with ExitStack() as stack:
                    with translated():
                        at_hand = stack.enter_context(self._at_hand(party))
                    for record, error in compared(at_hand, party):
                        left.pop(record.object)
                        yield record, error
            except BackupError as error:
                yield from ((record, error) for record in left.values())

    @contextmanager
    def _at_hand(self, party: Sequence[Pair]) -> Iterator["AtHand"]:
        """Have a party ready. The bar is gone before anything of it is told."""
        source, mended = _comparer(party[0]), party[0].earlier.snapshot.catalog.mended.counted()
        with ExitStack() as stack:
            for pair in (party[0].earlier, party[0].later):
                if pair is not None:
                    stack.enter_context(pair.snapshot.undisturbed())
            with self.invocation.bar(party[0].earlier.snapshot.carrier, None) as transfer:
                earlier = _job(self.earlier, [pair.earlier for pair in party], transfer)
                held = [pair.later for pair in party if pair.later is not None]
                later = _job(self.later, held, transfer) if self.later and held else None
                job = CompareJob(earlier, later, self.invocation.say, self.repairs)
                comparing = stack.enter_context(source.compare(job))
            yield AtHand(comparing, transfer.moved, mended)


@dataclass(frozen=True, slots=True)
class AtHand:
    """A party that can be compared."""

    comparing: Comparing
    bytes_read: int  # of all its snapshots, by this host
    mended: Callable[[], Mapping[str, Any]]  # of all its snapshots, see Mended.counted


def _comparer(pair: Pair) -> LookedInto:
    return keeping_of(pair.id.type).looked_into(pair.earlier.snapshot.catalog)


def _job(jobs: RestoreJobs, all_held: Sequence[Held], transfer: Transfer) -> RestoreJob:
    requests = [Request(Record.of(held.object.id), held, held.object.id) for held in all_held]
    return jobs.looks_at(requests, transfer, transfer.expect)
