"""tb-rotate - remove the snapshots that retention no longer keeps

Usage:
  tb-rotate [options]

Options:
      --dry-run        remove nothing; say of every snapshot what would become of it and why
      --adopt          take over a prefix that another host wrote
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Reads records. Nothing is removed of a carrier one of whose records failed. Adds removed, or
verdicts in a dry run.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.carriers import is_object
from three_backup.catalog.catalog import Catalog, Stored
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.deciding.holding import Holding
from three_backup.host.locks import carrier_lock
from three_backup.keeping import points
from three_backup.keeping.removal import PATIENCE, clear_unfinished, remove_from_s3, unclaimed
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record, of_source
from three_backup.model.retention import Place, Verdict
from three_backup.model.snapshots import SnapshotId
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage
from three_backup.pipe import Invocation, Once
from three_backup.sources import direct_source_of, point_source_of
from three_backup.sources.base import PointHeldError
from three_backup.sources.jobs import ClearJob

_STAGES = {Place.LOCAL: Stage.ROTATED_LOCALLY, Place.S3: Stage.ROTATED_S3}


@dataclass(frozen=True, slots=True)
class Args:
    dry_run: bool
    adopt: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(dry_run=bool(arguments["--dry-run"]), adopt=bool(arguments["--adopt"]))


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    outcomes: Once[dict[str, Any]] = Once()
    near: Once[bool] = Once()
    failed: set[str] = set()
    rotated: set[tuple[str, Storage]] = set()
    seen: set[str] = set()

    def act(record: Record) -> Record:
        settings = invocation.configuration.settings(record.object)
        places = _places(record, settings)
        if places and record.carrier in failed:
            invocation.say(f"{record.carrier}: nothing is removed while a record of it fails")
            return record
        if not places:
            return record
        if not settings.max_stage.reaches(Stage.SYNCED_S3) and not near.of(
            record.carrier, lambda: _stays_here(invocation, record, settings)
        ):
            return record
        key = " ".join((record.carrier, *places))
        outcome = outcomes.of(key, lambda: _act(invocation, args, record, settings, places))
        if Place.S3 in places:
            rotated.add((record.object.type, settings.storage))
        return _result(record.with_fields(**outcome), settings, places, dry_run=args.dry_run)

    for group in _by_carrier(invocation.records()):
        seen.update(record.carrier for record in group)
        failed.update(record.carrier for record in group if record.failed)
        for record in group:
            idle = record.failed or record.unsupported
            invocation.emit(record if idle else invocation.attempt(record, act))
    _clear_forgotten(invocation, args, rotated, seen)


def _by_carrier(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield the records of each carrier once all have come.

    An object that is its own carrier is yielded at once. A malformed line belongs to no carrier,
    and ends none.
    """
    group: list[Record] = []
    for record in records:
        if group and record.id and record.carrier != group[0].carrier:
            yield group
            group = []
        group.append(record)
        if group[0].carrier == group[0].id:
            yield group
            group = []
    if group:
        yield group


def _clear_forgotten(
    invocation: Invocation,
    args: Args,
    rotated: Collection[tuple[str, Storage]],
    seen: Collection[str],
) -> None:
    """Clear what was begun for dropped objects, of which no record comes any more."""

    def act(record: Record) -> Record:
        with carrier_lock(storage.local_dir, record.carrier):
            _clear(invocation, catalog, record.carrier, source_type)
        return record

    for source_type, storage in rotated if not args.dry_run else ():
        catalog = invocation.catalog(storage)
        for carrier in sorted(set(catalog.local.begun(source_type)).difference(seen)):
            if not _may_lie_in(storage, carrier, invocation.configuration):
                continue
            record = invocation.attempt(of_source(carrier, source_type), act)
            if record.failed:
                invocation.emit(record)


def _may_lie_in(storage: Storage, carrier: str, configuration: Configuration) -> bool:
    """Return whether the carrier may lie in this storage, and not in another bucket.

    A run on some objects sees no records of what lies in another bucket, though it is not
    forgotten. A carrier of many objects names none of them, and may always lie here.
    """
    if not is_object(carrier):
        return True
    return configuration.settings(ObjectId.parse(carrier)).storage == storage


def _places(record: Record, settings: Settings) -> tuple[Place, ...]:
    """Return the places in which the record wants its carrier rotated."""
    if settings.disable or settings.max_stage is Stage.EXISTS:
        return ()
    if not settings.max_stage.reaches(Stage.SYNCED_S3):
        # Snapshots that never go to S3 have local limits, too: nobody wants a full disk.
        return (Place.LOCAL,) if not record.planned or "snapshot" in record.fields else ()
    reached = record.todo if record.planned else tuple(Stage)
    return tuple(
        place
        for place, stage in _STAGES.items()
        if stage in reached and settings.max_stage.reaches(stage)
    )


def _stays_here(invocation: Invocation, record: Record, settings: Settings) -> bool:
    """Return whether nothing of the carrier goes to S3.

    Else the records of objects that go there rotate it: when they come, tb-upload has finished the
    carrier. A record that tb-upload only passes on may come before that.
    """
    catalog, carrier = invocation.catalog(settings.storage), record.carrier
    here = [
        Stored(snapshot, local=True, s3=False) for snapshot in catalog.local.snapshots(carrier)
    ]
    configuration = invocation.configuration
    holding = Holding.of(carrier, [record.object], configuration, catalog, here)
    return not holding.goes_to_s3


def _result(
    record: Record, settings: Settings, places: Sequence[Place], *, dry_run: bool
) -> Record:
    stages = [_STAGES[place] for place in places]
    if dry_run or not settings.max_stage.reaches(stages[-1]):
        return record
    return record.reached(*stages)


def _act(
    invocation: Invocation, args: Args, record: Record, settings: Settings, places: Sequence[Place]
) -> dict[str, Any]:
    """Rotate a carrier under its lock: only what the verdicts name is removed."""
    carrier, catalog = record.carrier, invocation.catalog(settings.storage)
    with carrier_lock(settings.storage.local_dir, carrier):
        snapshots = catalog.snapshots(carrier)
        holding = Holding.of(
            carrier, [record.object], invocation.configuration, catalog, snapshots
        )
        decided = [verdict for verdict in holding.verdicts() if verdict.place in places]
        if args.dry_run:
            return {"verdicts": [_said(invocation, carrier, verdict) for verdict in decided]}
        if Place.S3 in places and catalog.s3 is not None:
            catalog.s3.claim(invocation.host_id, adopt=args.adopt)
            _clear(invocation, catalog, carrier, record.object.type)
        removed = _remove(invocation, catalog, carrier, decided)
        _report_unclaimed(invocation, catalog, carrier, places)
        _report_nameless(invocation, catalog, record)
        return {"removed": removed}


def _clear(invocation: Invocation, catalog: Catalog, carrier: str, source_type: str) -> None:
    """Clear from S3 what nobody will finish: begun by us, or by a server that writes there."""
    clear_unfinished(catalog, carrier, invocation.clock(), invocation.say)
    source, journals = direct_source_of(source_type), catalog.local.journals(carrier)
    if source is not None and journals.is_dir():
        settings = invocation.configuration.source_settings(source_type)
        before = invocation.clock() - PATIENCE
        source.clear(ClearJob(carrier, journals, catalog.bucket, settings, before))


def _said(invocation: Invocation, carrier: str, verdict: Verdict) -> dict[str, Any]:
    action = "keep" if verdict.keep else "remove"
    invocation.say(f"{carrier}: {verdict.snapshot} ({verdict.place}): {action}, {verdict.reason}")
    return {
        "snapshot": str(verdict.snapshot),
        "place": verdict.place,
        "keep": verdict.keep,
        "reason": verdict.reason,
    }


def _remove(
    invocation: Invocation, catalog: Catalog, carrier: str, decided: Sequence[Verdict]
) -> dict[str, list[str]]:
    removed: dict[str, list[str]] = {place: [] for place in Place}
    for verdict in decided:
        if verdict.keep:
            continue
        try:
            if verdict.place is Place.LOCAL:
                _remove_local(catalog, carrier, verdict.snapshot)
            else:
                remove_from_s3(catalog, carrier, verdict.snapshot)
        except PointHeldError as error:
            invocation.say(str(error))
        else:
            removed[verdict.place].append(str(verdict.snapshot))
    return removed


def _remove_local(catalog: Catalog, carrier: str, snapshot: SnapshotId) -> None:
    source = point_source_of(carrier.partition("/")[0])
    if source is None:
        catalog.local.remove(carrier, snapshot)
    else:
        points.remove(source, catalog, carrier, snapshot)


def _report_unclaimed(
    invocation: Invocation, catalog: Catalog, carrier: str, places: Sequence[Place]
) -> None:
    keys = unclaimed(catalog, carrier) if Place.S3 in places and catalog.s3 is not None else []
    if keys:
        invocation.say(
            f"{carrier}: {len(keys)} keys in S3 belong to no snapshot and to no upload of this "
            f"host, {keys[0]} first; look at them and delete them by hand"
        )


def _report_nameless(invocation: Invocation, catalog: Catalog, record: Record) -> None:
    """Report points that belong to no snapshot.

    The points in the record may be out of date: the source is asked before anybody is alarmed.
    """
    carrier, source = record.carrier, point_source_of(record.object.type)
    known = {str(stored.id) for stored in catalog.snapshots(carrier)}
    if source is None or known.issuperset(record.fields.get("points", ())):
        return
    nameless = [str(point) for point in source.points(carrier) if str(point) not in known]
    if nameless:
        invocation.say(
            f"{carrier}: {len(nameless)} points belong to no snapshot, {nameless[0]} first; "
            "a copy or a rename brought them along, or a run was killed: remove them by hand"
        )
