"""Carriers that can hold a wanted object, and the records of them and of their objects."""

from collections.abc import Callable
from typing import Any

from three_backup.model.objects import LEVELS, ObjectId
from three_backup.model.records import Record, of_source


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


def record_within(carrier: str, object_id: ObjectId, **fields: Any) -> Record:
    """Return a new record of an object of the carrier; its names become fields."""
    own = {} if carrier == str(object_id) else {"carrier": carrier}
    return Record.of(object_id, **fields, **own)
