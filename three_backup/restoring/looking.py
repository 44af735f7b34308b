"""Has the sources look into snapshots, once for all that one moment answers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.pipe import Invocation, translated
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.restore_order import Party, Request, parties
from three_backup.sources import FOLDERS
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
    source = _source(held.object.id)
    with held.snapshot.undisturbed(), ExitStack() as stack:
        with invocation.bar(held.snapshot.carrier, None) as transfer:
            job = jobs.looks_at(party, transfer, transfer.expect)
            looking = stack.enter_context(source.look(job))
        yield looking


def _source(object_id: ObjectId) -> LookedInto:
    for source in FOLDERS:
        if source.type == object_id.type:
            return source
    raise BackupError(
        "look.source",
        f"{object_id}: only snapshots of PostgreSQL can be looked into",
        "restore it under another name: tb-restore --level3-suffix _look",
    )


def _tried(look: Look, looking: Looking, object_id: ObjectId) -> BackupError | None:
    try:
        look(looking, object_id)
    except BackupError as error:
        return error
    return None
