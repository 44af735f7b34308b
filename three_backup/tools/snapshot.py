"""tb-snapshot - take the base or incremental snapshots that are due

Usage:
  tb-snapshot [--base | --incremental] [options]

Options:
      --base           take a base, whatever was planned
      --incremental    take an incremental, whatever was planned; a base where none can follow
      --adopt          take over a prefix that another host wrote
      --json           records on a terminal, too, in place of a table
      --progress WHEN  draw a bar: auto, always or never [default: auto]
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Reads records. A record that tb-plan planned gets what its take says; any other one gets an
incremental, or a base where none can follow. Adds snapshot.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.catalog import Catalog
from three_backup.config.settings import Settings
from three_backup.deciding.disk_room import is_full, room_comes
from three_backup.errors import BackupError
from three_backup.host.locks import carrier_lock
from three_backup.keeping import Keeping, keeping_of
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.records import Record
from three_backup.model.snapshots import (
    Kind,
    Manifest,
    SnapshotId,
    Stored,
    chain,
    next_time,
    rfc3339,
)
from three_backup.model.stages import Stage, taken
from three_backup.pipe import Invocation, Once
from three_backup.sources.base import NothingToTakeError, ParentUnusableError
from three_backup.sources.jobs import SnapshotJob
from three_backup.sources.lacking import why_lacking
from three_backup.watching.forms import TAKEN
from three_backup.watching.sheet import Sheet

_OWN = (Stage.SNAPSHOT_BASE, Stage.SNAPSHOT_INCREMENTAL)


@dataclass(frozen=True, slots=True)
class Args:
    base: bool
    incremental: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(base=bool(arguments["--base"]), incremental=bool(arguments["--incremental"]))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome of one carrier."""

    manifest: Manifest | None  # None: nothing was taken
    snapshot: dict[str, Any] | None = None  # its fields for the records
    why: str | None = None  # why nothing was taken, or a base instead of an incremental
    held: frozenset[ObjectId] = frozenset()  # the objects in the snapshot


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    outcomes: Once[_Outcome] = Once()
    invocation.present(Sheet(TAKEN))

    def act(record: Record) -> Record:
        settings = invocation.configuration.settings(record.object)
        keeping = keeping_of(record.object.type)
        kept = keeping.source.kept
        kind = _asked(args, record, settings, kept)
        if kind is None:
            return record
        taking = partial(_act, invocation, keeping, record, settings, kind)
        return _result(record, outcomes.of(record.carrier, taking), kept)

    invocation.each(act)


def _asked(args: Args, record: Record, settings: Settings, kept: Kept) -> Kind | None:
    """Return the kind of snapshot that the record, or an option that overrules it, asks for."""
    if settings.disable or not settings.max_stage.reaches(taken(Kind.BASE, kept)):
        return None
    if args.base:
        return Kind.BASE
    if args.incremental or not record.planned:
        incremental = settings.max_stage.reaches(taken(Kind.INCREMENTAL, kept))
        return Kind.INCREMENTAL if incremental else Kind.BASE
    take = record.fields.get("take")
    return Kind(take) if take and taken(Kind(take), kept) in record.todo else None


def _result(record: Record, outcome: _Outcome, kept: Kept) -> Record:
    if outcome.why is not None:
        record = record.with_fields(why=outcome.why)
    own = (*_OWN, taken(Kind.BASE, kept))
    if (manifest := outcome.manifest) is None:
        todo = [step for step in record.todo if step not in own]
        left = {"todo": todo} if record.planned else {}
        return record.with_fields(take=None, **left)
    if record.object not in outcome.held:
        return _left_without(record, manifest)
    return record.reached(*own, taken(manifest.snapshot.kind, kept)).with_fields(
        take=None, snapshot=outcome.snapshot
    )


def _left_without(record: Record, manifest: Manifest) -> Record:
    """Return the record of an object gone at the source; raise an error if it is not gone."""
    if lack := why_lacking(manifest, record.object):
        raise lack
    return record.with_fields(take=None, todo=[], why="it is gone at the source")


def _act(
    invocation: Invocation, keeping: Keeping, record: Record, settings: Settings, kind: Kind
) -> _Outcome:
    """Take the snapshot of a carrier, under its lock."""
    carrier = record.carrier
    with carrier_lock(settings.storage.local_dir, carrier):
        catalog, snapshots = _listed(invocation, keeping, record, settings)
        overtaken = _overtaken(record, snapshots, invocation.clock())
        if overtaken:
            return _Outcome(None, why=overtaken)
        snapshots = keeping.known(catalog, carrier, snapshots, invocation.say)
        try:
            return _taken(invocation, keeping, record, catalog, snapshots, kind)
        except (BackupError, OSError) as error:
            configuration, now = invocation.configuration, invocation.clock()
            if not is_full(error) or not room_comes(
                record, settings, configuration, catalog, snapshots, now
            ):
                raise
            where = catalog.local.root
            why = f"no room for a snapshot in {where}; what lies there goes to S3 and away first"
            invocation.say(f"{carrier}: {why}")
            return _Outcome(None, why=why)


def _taken(
    invocation: Invocation,
    keeping: Keeping,
    record: Record,
    catalog: Catalog,
    snapshots: Sequence[Stored],
    kind: Kind,
) -> _Outcome:
    """Take the snapshot; a base where no incremental can follow."""
    parent, why = None, None
    if kind is Kind.INCREMENTAL:
        parent, why = _parent(catalog, record.carrier, snapshots)
    try:
        return _take(invocation, keeping, record, catalog, snapshots, parent, why)
    except ParentUnusableError as error:
        invocation.say(f"{record.carrier}: {error.message}; a base is taken instead")
        return _take(invocation, keeping, record, catalog, snapshots, None, error.message)
    except NothingToTakeError as error:
        invocation.say(f"{record.carrier}: {error}")
        return _Outcome(None, why=error.message)


def _listed(
    invocation: Invocation, keeping: Keeping, record: Record, settings: Settings
) -> tuple[Catalog, Sequence[Stored]]:
    """Return the carrier's snapshots; those on this host while S3 is away or refuses us."""
    catalog = invocation.catalog(settings.storage)
    try:
        return catalog, catalog.filled(record.carrier)
    except BackupError as error:
        local = keeping.without_s3(catalog, error)
        invocation.say(f"{error}; the snapshot is taken on this host")
        return local, local.snapshots(record.carrier)


def _overtaken(record: Record, snapshots: Sequence[Stored], now: datetime) -> str | None:
    """Return why the plan no longer holds: a snapshot was taken since. None if it holds."""
    newest = snapshots[-1].id if snapshots else None
    planned_at = record.fields.get("planned_at")
    if newest is None or planned_at is None:
        return None
    if "newest" in record.fields:
        known = SnapshotId.parse(record.fields["newest"] or "")
        overtaken = known is None or known.time < newest.time
    else:
        overtaken = planned_at < rfc3339(newest.time) <= rfc3339(now)
    return f"snapshot {newest} was taken since this was planned" if overtaken else None


def _parent(
    catalog: Catalog, carrier: Carrier, snapshots: Sequence[Stored]
) -> tuple[Stored | None, str | None]:
    """Return the newest snapshot if it can be restored, else why not."""
    if not snapshots:
        return None, "there is no snapshot yet"
    newest = snapshots[-1]
    if not catalog.partial and chain((stored.id for stored in snapshots), newest.id) is None:
        return None, f"a parent of {newest.id} is gone"
    lost = catalog.lost(carrier, snapshots, newest.id)
    return (newest, None) if lost is None else (None, lost)


def _take(
    invocation: Invocation,
    keeping: Keeping,
    record: Record,
    catalog: Catalog,
    snapshots: Sequence[Stored],
    parent: Stored | None,
    why: str | None,
) -> _Outcome:
    started = time.monotonic()
    moment = next_time(invocation.clock(), snapshots[-1].id.time if snapshots else None)
    snapshot = SnapshotId(moment, parent.id.time if parent else None)
    with invocation.bar(record.carrier, None) as transfer:
        job = SnapshotJob(
            carrier=record.carrier,
            snapshot=snapshot,
            parent=catalog.files(record.carrier, parent) if parent else None,
            settings=invocation.configuration.settings,
            source_settings=invocation.configuration.source_settings(record.object.type),
            program=pipe.PROGRAM,
            host=invocation.host,
            advance=transfer,
            say=invocation.say,
            settings_below=invocation.configuration.settings_below,
            expect=transfer.expect,
        )
        manifest = keeping.take(catalog, job)
    held = frozenset(carried.id for carried in manifest.objects)
    return _Outcome(manifest, _fields(manifest, time.monotonic() - started), why, held)


def _fields(manifest: Manifest, seconds: float) -> dict[str, Any]:
    snapshot = manifest.snapshot
    return {
        "id": str(snapshot),
        "kind": snapshot.kind,
        "parent": rfc3339(snapshot.parent) if snapshot.parent else None,
        "source_size": manifest.source_size,
        "stored_size": manifest.stored_size,
        "seconds": round(seconds, 3),
    }
