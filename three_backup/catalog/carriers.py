"""Carriers that can hold a wanted object, and the records of them and of their objects."""

from collections.abc import Callable
from typing import Any

from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.records import Record, of_source


def can_hold(carrier: Carrier, wanted: Callable[[str], bool]) -> bool:
    """Whether the carrier's manifests must be read. wanted: tells by object id."""
    return not carrier.is_object or wanted(carrier)


def record_of(carrier: Carrier) -> Record:
    """Return the record of a whole carrier, to report a failure."""
    if carrier.is_object:
        return Record.of(ObjectId.parse(carrier))
    return of_source(carrier, carrier.type, carrier=carrier)


def record_within(carrier: Carrier, object_id: ObjectId, **fields: Any) -> Record:
    """Return a new record of an object of the carrier; its names become fields."""
    own = {} if carrier == str(object_id) else {"carrier": carrier}
    return Record.of(object_id, **fields, **own)
