"""tb-snapshot - take the base or incremental snapshots that are due

Usage:
  tb-snapshot [--base | --incremental] [options]

Options:
      --base           take a base, whatever was planned
      --incremental    take an incremental, whatever was planned; a base where none can follow
      --adopt          take over a prefix that another host wrote
      --progress WHEN  draw a bar: auto, always or never [default: auto]
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Reads records. A record that tb-plan planned gets what its take says; any other one gets an
incremental, or a base where none can follow. Adds snapshot.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.catalog import Catalog, Stored
from three_backup.config.settings import Settings
from three_backup.deciding.disk_room import is_full, room_comes
from three_backup.errors import BackupError, s3_is_away
from three_backup.host.locks import carrier_lock
from three_backup.keeping import points
from three_backup.model import layout
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.model.snapshots import Kind, Manifest, SnapshotId, chain, next_time, rfc3339
from three_backup.model.stages import Stage, taken
from three_backup.pipe import Invocation, Once
from three_backup.s3.store import Store
from three_backup.sources import direct_source_of, point_source_of, source_of
from three_backup.sources.base import NothingToTakeError, ParentUnusableError, why_lacking
from three_backup.sources.jobs import SnapshotJob

_OWN = (Stage.SNAPSHOT_BASE, Stage.SNAPSHOT_INCREMENTAL)


@dataclass(frozen=True, slots=True)
class Args:
    base: bool
    incremental: bool
    adopt: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(
            base=bool(arguments["--base"]),
            incremental=bool(arguments["--incremental"]),
            adopt=bool(arguments["--adopt"]),
        )


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

    def act(record: Record) -> Record:
        settings = invocation.configuration.settings(record.object)
        direct = direct_source_of(record.object.type) is not None
        kind = _asked(args, record, settings, direct=direct)
        if kind is None:
            return record
        taking = partial(_act, invocation, args, record, settings, kind)
        return _result(record, outcomes.of(record.carrier, taking), direct=direct)

    invocation.each(act)


def _asked(args: Args, record: Record, settings: Settings, *, direct: bool) -> Kind | None:
    """Return the kind of snapshot that the record, or an option that overrules it, asks for."""
    if settings.disable or not settings.max_stage.reaches(taken(Kind.BASE, direct=direct)):
        return None
    if args.base:
        return Kind.BASE
    if args.incremental or not record.planned:
        incremental = settings.max_stage.reaches(taken(Kind.INCREMENTAL, direct=direct))
        return Kind.INCREMENTAL if incremental else Kind.BASE
    take = record.fields.get("take")
    return Kind(take) if take and taken(Kind(take), direct=direct) in record.todo else None


def _result(record: Record, outcome: _Outcome, *, direct: bool) -> Record:
    if outcome.why is not None:
        record = record.with_fields(why=outcome.why)
    own = (*_OWN, Stage.SYNCED_S3) if direct else _OWN
    if (manifest := outcome.manifest) is None:
        todo = [step for step in record.todo if step not in own]
        left = {"todo": todo} if record.planned else {}
        return record.with_fields(take=None, **left)
    if record.object not in outcome.held:
        return _left_without(record, manifest)
    return record.reached(*own, taken(manifest.snapshot.kind, direct=direct)).with_fields(
        take=None, snapshot=outcome.snapshot
    )


def _left_without(record: Record, manifest: Manifest) -> Record:
    """Return the record of an object gone at the source; raise an error if it is not gone."""
    if lack := why_lacking(manifest, record.object):
        raise lack
    return record.with_fields(take=None, todo=[], why="it is gone at the source")


def _act(
    invocation: Invocation, args: Args, record: Record, settings: Settings, kind: Kind
) -> _Outcome:
    """Take the snapshot of a carrier, under its lock."""
    carrier = record.carrier
    with carrier_lock(settings.storage.local_dir, carrier):
        catalog, snapshots = _known(invocation, record, settings)
        overtaken = _overtaken(record, snapshots, invocation.clock())
        if overtaken:
            return _Outcome(None, why=overtaken)
        if source := point_source_of(record.object.type):
            snapshots = points.reconcile(source, catalog, carrier, invocation.say)
        try:
            return _taken(invocation, args, record, catalog, snapshots, kind)
        except (BackupError, OSError) as error:
            if not is_full(error) or not room_comes(
                record, settings, invocation.configuration, catalog, snapshots
            ):
                raise
            where = catalog.local.root
            why = f"no room for a snapshot in {where}; what lies there goes to S3 and away first"
            invocation.say(f"{carrier}: {why}")
            return _Outcome(None, why=why)


def _taken(
    invocation: Invocation,
    args: Args,
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
        return _take(invocation, args, record, catalog, snapshots, parent, why)
    except ParentUnusableError as error:
        invocation.say(f"{record.carrier}: {error.message}; a base is taken instead")
        return _take(invocation, args, record, catalog, snapshots, None, error.message)
    except NothingToTakeError as error:
        invocation.say(f"{record.carrier}: {error}")
        return _Outcome(None, why=error.message)


def _known(
    invocation: Invocation, record: Record, settings: Settings
) -> tuple[Catalog, list[Stored]]:
    """Return the carrier's snapshots; those on this host while S3 is away or refuses us."""
    catalog = invocation.catalog(settings.storage)
    try:
        return catalog, catalog.snapshots(record.carrier)
    except BackupError as error:
        if direct_source_of(record.object.type) is not None or not s3_is_away(error):
            raise
        invocation.say(f"{error}; the snapshot is taken on this host")
        local = catalog.without_s3()
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
    catalog: Catalog, carrier: str, snapshots: Sequence[Stored]
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
    args: Args,
    record: Record,
    catalog: Catalog,
    snapshots: Sequence[Stored],
    parent: Stored | None,
    why: str | None,
) -> _Outcome:
    started = time.monotonic()
    moment = next_time(invocation.clock(), snapshots[-1].id.time if snapshots else None)
    snapshot = SnapshotId(moment, parent.id.time if parent else None)
    source = source_of(record.object.type)
    with (
        _destination(invocation, args, record, catalog, snapshot) as destination,
        invocation.bar(record.carrier, None) as transfer,
    ):
        job = SnapshotJob(
            carrier=record.carrier,
            snapshot=snapshot,
            parent=catalog.files(record.carrier, parent) if parent else None,
            directory=destination.directory,
            settings=invocation.configuration.settings,
            source_settings=invocation.configuration.source_settings(source.type),
            program=pipe.PROGRAM,
            host=invocation.host,
            advance=transfer,
            say=invocation.say,
            settings_below=invocation.configuration.settings_below,
            store=destination.store,
            expect=transfer.expect,
        )
        manifest = source.take(job)
        destination.commit(manifest)
    held = frozenset(carried.id for carried in manifest.objects)
    return _Outcome(manifest, _fields(manifest, time.monotonic() - started), why, held)


@dataclass(frozen=True, slots=True)
class _Destination:
    """The place where a source puts a snapshot."""

    directory: Path
    store: Store | None  # of direct sources only
    commit: Callable[[Manifest], None]  # completes the snapshot


@contextmanager
def _destination(
    invocation: Invocation, args: Args, record: Record, catalog: Catalog, snapshot: SnapshotId
) -> Iterator[_Destination]:
    carrier = record.carrier
    if direct_source_of(record.object.type) is None:
        with catalog.local.begin(carrier, snapshot) as directory:
            yield _Destination(directory, None, partial(catalog.local.commit, directory))
        return
    catalog.bucket.claim(invocation.host_id, adopt=args.adopt)
    journals = catalog.local.journals(carrier)
    journals.mkdir(parents=True, exist_ok=True)
    yield _Destination(journals, catalog.bucket, partial(_commit_in_s3, catalog))


def _commit_in_s3(catalog: Catalog, manifest: Manifest) -> None:
    """Write the manifest last, then remove the journals of the snapshot."""
    carrier, snapshot = manifest.carrier, manifest.snapshot
    catalog.bucket.write(layout.manifest_key(carrier, snapshot), manifest.to_json())
    shutil.rmtree(catalog.local.journals(carrier, snapshot))
    with suppress(OSError):  # other snapshots have journals in it
        catalog.local.journals(carrier).rmdir()


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
