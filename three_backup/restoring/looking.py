"""Has the sources look into snapshots, once for all that one moment answers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from three_backup.errors import BackupError
from three_backup.keeping import keeping_of
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.pipe import Invocation, translated
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.restore_order import Party, Request, parties
from three_backup.sources import source_of
from three_backup.sources.looking import Content, Looking, Way, no_files, no_rows

Opened = tuple[Request, Way | BackupError]
"""A request, and the way to what it asks for, or why there is none."""

Look = Callable[[Looking, ObjectId], None]
"""Looks at an object. Raises BackupError."""


def looked_at(
    invocation: Invocation,
    jobs: RestoreJobs,
    requests: Iterable[Request],
    look: Look,
    content: Content | None,
) -> Iterator[tuple[Record, BackupError | None]]:
    """Look at each object in its snapshot; yield its record, and why it could not be done.

    content: what is looked for; None: what every object has.
    """
    for party in parties(requests):
        left = {request.held.object.id: request.record for request in party}
        try:
            with ExitStack() as stack:
                with translated():
                    _check(party, content)
                    stack.enter_context(party[0].held.snapshot.undisturbed())
                    looking = stack.enter_context(_at_hand(invocation, jobs, party))
                for object_id in list(left):
                    error = _tried(look, looking, object_id)
                    yield left.pop(object_id), error
        except BackupError as error:
            yield from ((record, error) for record in left.values())


@contextmanager
def opened_at_once(
    invocation: Invocation, jobs: RestoreJobs, requests: Iterable[Request]
) -> Iterator[list[Opened]]:
    """Have all objects open during the block, and yield how each is reached.

    The lock on their snapshots is let go as soon as they are open: hours of looking must not hold
    up a backup.
    """
    with ExitStack() as stack:
        yield [
            outcome
            for party in parties(requests)
            for outcome in _opened(invocation, jobs, party, stack)
        ]


def _opened(
    invocation: Invocation, jobs: RestoreJobs, party: Party, stack: ExitStack
) -> Iterator[Opened]:
    left = list(party)
    try:
        with translated(), party[0].held.snapshot.undisturbed():
            looking = stack.enter_context(_at_hand(invocation, jobs, party))
            while left:
                outcome = _entered(stack, looking, left[0].held.object.id)
                yield left.pop(0), outcome
    except BackupError as error:
        yield from ((request, error) for request in left)


def _entered(stack: ExitStack, looking: Looking, object_id: ObjectId) -> Way | BackupError:
    try:
        return stack.enter_context(looking.opened(object_id))
    except BackupError as error:
        return error


@contextmanager
def _at_hand(invocation: Invocation, jobs: RestoreJobs, party: Party) -> Iterator[Looking]:
    """Have the objects of a party ready. The bar is gone before anything of them is seen."""
    held = party[0].held
    source = keeping_of(held.object.id.type).looked_into(held.snapshot.catalog)
    with ExitStack() as stack:
        with invocation.bar(held.snapshot.carrier, None) as transfer:
            job = jobs.looks_at(party, transfer, transfer.expect)
            looking = stack.enter_context(source.look(job))
        yield looking


def _check(party: Party, content: Content | None) -> None:
    """Raise BackupError where there is nothing of the kind to be looked at."""
    object_id = party[0].held.object.id
    has = source_of(object_id.type).content
    if content not in (None, has):
        raise no_rows(object_id) if has == Content.FILES else no_files(object_id)


def _tried(look: Look, looking: Looking, object_id: ObjectId) -> BackupError | None:
    try:
        look(looking, object_id)
    except BackupError as error:
        return error
    return None
