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
from three_backup.restoring.snapshot_finder import Held
from three_backup.sources.looking import LookedInto, Looking

Look = Callable[[Looking, ObjectId], None]
"""Looks at an object. Raises BackupError."""


def looked_at(
    invocation: Invocation, jobs: RestoreJobs, requests: Iterable[Request], look: Look
) -> Iterator[tuple[Record, BackupError | None]]:
    """Look at each object in its snapshot; yield its record, and why it could not be done."""
    for party in parties(requests):
        left = {request.held.object.id: request.record for request in party}
        try:
            with ExitStack() as stack:
                with translated():
                    looking = stack.enter_context(_opened(invocation, jobs, party))
                for object_id in list(left):
                    error = _tried(look, looking, object_id)
                    yield left.pop(object_id), error
        except BackupError as error:
            yield from ((record, error) for record in left.values())


@contextmanager
def _opened(invocation: Invocation, jobs: RestoreJobs, party: Party) -> Iterator[Looking]:
    """Have the objects of a party ready. The bar is gone before anything of them is seen."""
    held = party[0].held
    source = _looked_into(held)
    with held.snapshot.undisturbed(), ExitStack() as stack:
        with invocation.bar(held.snapshot.carrier, None) as transfer:
            job = jobs.looks_at(party, transfer, transfer.expect)
            looking = stack.enter_context(source.look(job))
        yield looking


def _looked_into(held: Held) -> LookedInto:
    object_id = held.object.id
    found = keeping_of(object_id.type).looked_into(held.snapshot.catalog)
    if found is None:
        raise BackupError(
            "look.source",
            f"{object_id}: what is in its snapshots can only be restored",
            "bring it back beside the present one: tb-restore --level3-suffix=-look",
        )
    return found


def _tried(look: Look, looking: Looking, object_id: ObjectId) -> BackupError | None:
    try:
        look(looking, object_id)
    except BackupError as error:
        return error
    return None
