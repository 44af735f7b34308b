"""Looks up what a list shows of each carrier: stages, drills, snapshots."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from three_backup.catalog.carriers import record_of
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.hollow import look
from three_backup.catalog.hollow_memory import filled
from three_backup.deciding import discovery
from three_backup.deciding.due import unsupported
from three_backup.deciding.holding import outlook
from three_backup.errors import BackupError
from three_backup.keeping import moments
from three_backup.model.objects import Carrier
from three_backup.model.records import Record
from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.pipe import Invocation, translated
from three_backup.sources.logged import Log
from three_backup.watching.proved import Proved

_STAGES = ("stage", "max_stage", "disabled")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to show besides the objects."""

    stages: bool
    snapshots: bool
    drills: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """What is shown of a carrier."""

    carrier: Carrier
    records: Sequence[Record]
    snapshots: Sequence[Mapping[str, Any]]
    log: Log | None = None  # which moments between them can be restored


def look_up(
    invocation: Invocation, wanted: Wanted, proved: Proved, records: Iterable[Record]
) -> Iterator[Listed]:
    """Yield each carrier with its records, which stand together, and with what is wanted."""
    for carrier, group in groupby(records, key=lambda record: record.carrier):
        yield _looked_up(invocation, wanted, proved, carrier, list(group))


def _looked_up(
    invocation: Invocation,
    wanted: Wanted,
    proved: Proved,
    carrier: Carrier,
    records: Sequence[Record],
) -> Listed:
    """Add what the options ask for to the records of a carrier."""
    live = [record for record in records if not record.failed and not record.unsupported]
    if not live:
        shown = [unsupported(given) if given.unsupported else given for given in records]
        return Listed(carrier, shown, ())
    settings = invocation.configuration.settings(live[0].object)
    catalog = invocation.catalog(settings.storage)
    errors: list[BackupError] = []
    if wanted.stages:
        catalog.list_everything()
        with _collected(errors):
            records = _with_stages(invocation, catalog, carrier, records)
    if wanted.drills:
        records = proved.shown(catalog, records)
    now = invocation.clock()
    snapshots, log = _snapshots(catalog, carrier, now, errors) if wanted.snapshots else ([], None)
    failed = (invocation.fail(record_of(carrier), error) for error in errors)
    # --stored told of the same manifests.
    new = [failure for failure in failed if failure not in records]
    return Listed(carrier, [*records, *new], snapshots, log)


def _snapshots(
    catalog: Catalog, carrier: Carrier, now: datetime, errors: list[BackupError]
) -> tuple[Sequence[Mapping[str, Any]], Log | None]:
    snapshots, hollow, held, log = catalog.snapshots(carrier), {}, {}, None
    found: list[Mapping[str, Any]] = []
    with _collected(errors):
        held = catalog.holds.in_force(carrier, now)
    with _collected(errors):
        hollow = look(catalog, carrier, [stored.id for stored in snapshots if stored.s3])
    missing = discovery.missing_of(carrier, snapshots, hollow)
    for stored in snapshots:
        with _collected(errors):
            manifest = catalog.manifest(carrier, stored)
            described = discovery.describe(stored, manifest, missing, hollow, held.get(stored.id))
            found.append({**described, **_encryption(catalog, carrier, stored)})
    with _collected(errors):
        found = _with_foreign(found, catalog.foreign(carrier))
    with _collected(errors):
        log = moments.log_of(catalog, carrier, filled(snapshots, hollow))
    return found, log


def _encryption(catalog: Catalog, carrier: Carrier, stored: Stored) -> Mapping[str, Any]:
    """Return the fields that tell of the copy in S3 with which key it is encrypted, if it is.

    Its manifest was read to find out whether it is hollow, and is remembered.
    """
    if not stored.s3:
        return {}
    encrypted = catalog.manifest(carrier, stored._replace(local=False)).encrypted
    if encrypted is not None:
        return {"encrypted": encrypted.key}
    return {"plain": True} if catalog.storage.encryption_key else {}


def _with_foreign(
    described: Sequence[Mapping[str, Any]], foreign: Collection[SnapshotId]
) -> list[Mapping[str, Any]]:
    """Add what our keys did not sign; nothing that it says of itself is told."""
    others = (
        {"id": str(snapshot), "kind": snapshot.kind, "size": 0, "place": ["s3"], "foreign": True}
        for snapshot in foreign
    )
    return sorted([*described, *others], key=lambda fields: str(fields["id"]))


@contextmanager
def _collected(errors: list[BackupError]) -> Iterator[None]:
    """Collect failures, so that those of one carrier do not stop the others."""
    try:
        with translated():
            yield
    except BackupError as error:
        errors.append(error)


def _with_stages(
    invocation: Invocation, catalog: Catalog, carrier: Carrier, records: Sequence[Record]
) -> list[Record]:
    """Add stages to the records; planned ones keep the stage that the plan gave them."""
    configuration = invocation.configuration
    ahead = outlook(carrier, records, configuration, catalog, invocation.clock())
    shown = []
    for record in records:
        if not record.failed and not record.planned:
            planned = ahead.planned(record, configuration.settings(record.object)).fields
            named = {name: planned[name] for name in _STAGES if name in planned}
            record = record.with_fields(**named)
        shown.append(record)
    return shown
