"""Carriers that can hold a wanted object, and the record of a carrier that cannot be read."""

from collections.abc import Callable

from three_backup.errors import BackupError
from three_backup.model.objects import LEVELS, ObjectId
from three_backup.model.records import Record, of_source

Broken = tuple[str, BackupError]
"""A carrier or an object, and why a manifest that it needs cannot be read."""


def is_object(carrier: str) -> bool:
    """Whether the carrier is itself an object, and so holds no other object."""
    return carrier.count("/") == LEVELS - 1


def can_hold(carrier: str, wanted: Callable[[str], bool]) -> bool:
    """Whether the carrier's manifests must be read. wanted: tells by object id."""
    return not is_object(carrier) or wanted(carrier)


def record_of(carrier: str) -> Record:
    """Return the record of a whole carrier, to report a failure."""
    if is_object(carrier):
        return Record.of(ObjectId.parse(carrier))
    return of_source(carrier, carrier.partition("/")[0], carrier=carrier)
