"""Which carriers can hold what is wanted, and what is said of one that cannot be read."""

from collections.abc import Callable

from three_backup.errors import BackupError
from three_backup.model.objects import LEVELS, ObjectId
from three_backup.model.records import Record, of_source

Broken = tuple[str, BackupError]
"""A carrier, or an object, of which a manifest that is needed cannot be read."""


def is_object(carrier: str) -> bool:
    """Whether the carrier is an object itself: it holds no other one."""
    return carrier.count("/") == LEVELS - 1


def can_hold(carrier: str, wanted: Callable[[str], bool]) -> bool:
    """Whether its manifests have to be read for what is wanted. wanted: by id."""
    return not is_object(carrier) or wanted(carrier)


def record_of(carrier: str) -> Record:
    """The record of a carrier as a whole, to fail."""
    if is_object(carrier):
        return Record.of(ObjectId.parse(carrier))
    return of_source(carrier, carrier.partition("/")[0], carrier=carrier)
