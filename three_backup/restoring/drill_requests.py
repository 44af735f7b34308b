"""Finds what a drill is asked to prove: objects, and the snapshots to restore them from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import NothingFoundError
from three_backup.model.objects import can_match_below, selected
from three_backup.model.records import Record
from three_backup.pipe import Invocation
from three_backup.restoring.drill_candidates import candidates
from three_backup.restoring.nothing_found import SHOWN, Whereabouts
from three_backup.restoring.unmatched import Selection
from three_backup.sources import SOURCES


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """A record to prove, and the snapshot to restore its object from."""

    record: Record
    snapshot: Snapshot


def asked_for(
    invocation: Invocation, catalogs: Sequence[Catalog], patterns: Sequence[str]
) -> list[DrillRequest]:
    """Return what the arguments or, without any, the records on standard input ask for."""
    if patterns:
        return _by_pattern(invocation, catalogs, patterns)
    records = {}
    for record in invocation.records():
        if record.failed:
            invocation.emit(record)
        else:
            records[record.id] = record
    return _by_record(invocation, catalogs, records)


def _by_pattern(
    invocation: Invocation, catalogs: Sequence[Catalog], patterns: Sequence[str]
) -> list[DrillRequest]:
    types = [
        source.type
        for source in SOURCES
        if any(can_match_below(pattern, source.type) for pattern in patterns)
    ]
    requests, selection = list[DrillRequest](), Selection(patterns)
    for record, found in candidates(catalogs, types, partial(selected, patterns)):
        if isinstance(found, Snapshot):
            requests.append(DrillRequest(record, found))
        else:
            record = invocation.fail(record, found)
            invocation.emit(record)
        selection.see(record)
    whereabouts = Whereabouts(catalogs)
    for record, error in selection.failures(
        lambda pattern: _not_held(pattern, whereabouts, whereabouts.near(pattern))
    ):
        invocation.emit(invocation.fail(record, error))
    return requests


def _by_record(
    invocation: Invocation, catalogs: Sequence[Catalog], records: Mapping[str, Record]
) -> list[DrillRequest]:
    types = dict.fromkeys(record.object.type for record in records.values())
    requests, broken, whereabouts = {}, {}, Whereabouts(catalogs)
    for record, found in candidates(catalogs, types, lambda object_id: object_id in records):
        if isinstance(found, Snapshot):
            requests[record.id] = DrillRequest(records[record.id], found)
        else:
            broken[record.carrier] = found
    for object_id, record in records.items():
        if object_id not in requests:
            error = broken.get(record.carrier) or _not_held(object_id, whereabouts, SHOWN)
            invocation.emit(invocation.fail(record, error))
    return list(requests.values())


def _not_held(what: str, whereabouts: Whereabouts, hint: str) -> NothingFoundError:
    return whereabouts.not_found(
        "verify.not_found", f"{what}: the newest snapshots in S3 do not hold it", hint
    )
