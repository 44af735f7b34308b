"""tb-rotate - remove the snapshots that retention no longer keeps

Usage:
  tb-rotate [options]

Options:
      --dry-run         remove nothing; say of every snapshot what would become of it and why
      --orphans         rotate nothing; show the keys in S3 that belong to no snapshot
      --remove          with --orphans: remove those older than a week
      --s3-prefix NAME  what another host stored, which may not delete, below its s3_prefix
      --adopt           take over a prefix that another host wrote
      --json            records on a terminal, too, in place of a table
  -c, --config FILE     the configuration
      --env-file FILE   PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help            show this
      --version         show the version

Reads records, except with --orphans. Nothing is removed of a carrier one of whose records failed.
Adds removed, or verdicts in a dry run, or orphans.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.carriers import record_of
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.holds import Holds
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.deciding.holding import Holding
from three_backup.deciding.kept_data import require_data
from three_backup.deciding.locked import staying
from three_backup.deciding.places import places_of, reached
from three_backup.errors import UsageError
from three_backup.host.locks import carrier_lock
from three_backup.keeping import keeping_of, moments, orphans
from three_backup.keeping.orphans import Orphan
from three_backup.keeping.rotation import Rotation, claim_to_rotate, described, sizes_of
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.records import Record, by_carrier, of_source
from three_backup.model.retention import Place, Verdict
from three_backup.model.schedule import host_zone
from three_backup.model.snapshots import Stored
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage
from three_backup.pipe import Invocation, Once
from three_backup.sources.logged import LogVerdict
from three_backup.watching.foretold import Foretold
from three_backup.watching.forms import FORETOLD, ROTATED
from three_backup.watching.orphan_table import OrphanTable
from three_backup.watching.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Args:
    dry_run: bool
    orphans: bool
    remove: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        if arguments["--remove"] and not arguments["--orphans"]:
            raise UsageError("usage", "--remove goes with --orphans only", "add --orphans")
        for option in ("--orphans", "--adopt"):
            if arguments[option] and arguments["--s3-prefix"] is not None:
                words = f"{option} and --s3-prefix exclude one another"
                raise UsageError("usage", words, "say it on the other host")
        return cls(
            dry_run=bool(arguments["--dry-run"]),
            orphans=bool(arguments["--orphans"]),
            remove=bool(arguments["--remove"]) and not arguments["--dry-run"],
        )


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    if args.orphans:
        _look_for_orphans(invocation, args)
        return
    invocation.present(Sheet(FORETOLD if args.dry_run else ROTATED))
    rotations: dict[Carrier, _Rotation] = {}
    foretold = Foretold(host_zone(os.environ)) if args.dry_run else None
    for group in by_carrier(invocation.records()):
        carrier = group[0].carrier
        rotation = rotations.setdefault(carrier, _Rotation(invocation, foretold, carrier))
        rotation.failed |= any(record.failed and record.id for record in group)
        for record in group:
            idle = record.failed or record.unsupported
            invocation.emit(record if idle else invocation.attempt(record, rotation.act))
    if foretold is None:
        _clear_forgotten(invocation, rotations)
        return
    for sentence in foretold.sentences():
        invocation.say(sentence)


def _look_for_orphans(invocation: Invocation, args: Args) -> None:
    """Show the orphans of every storage that the configuration names, and remove them if asked."""
    now = invocation.clock()
    seen = OrphanTable(now)
    invocation.present(seen)
    for catalog in invocation.catalogs:
        if args.remove:
            catalog.claim()
        for carrier, group in groupby(orphans.find(catalog, now), key=lambda each: each.carrier):
            clearing = partial(_cleared, catalog, list(group), now, remove=args.remove)
            record = invocation.attempt(record_of(carrier), clearing)
            seen.count(record)
            invocation.emit(record)
    if seen.sentence:
        invocation.say(seen.sentence)


def _cleared(
    catalog: Catalog, found: Sequence[Orphan], now: datetime, record: Record, *, remove: bool
) -> Record:
    """Return the record with the orphans of its carrier, those removed that nothing keeps."""
    going = {orphan.folder for orphan in found if remove and not orphan.stays}
    if going:
        with carrier_lock(catalog.storage.local_dir, record.carrier):
            for orphan in found:
                if orphan.folder in going:
                    orphans.remove(catalog, orphan, now)
    told = [
        {**orphan.fields, **({"removed": True} if orphan.folder in going else {})}
        for orphan in found
    ]
    return record.with_fields(orphans=told)


class _Rotation:
    """The rotation of one carrier, as its records ask for it."""

    def __init__(
        self, invocation: Invocation, foretold: Foretold | None, carrier: Carrier
    ) -> None:
        """foretold: of a dry run, which removes nothing."""
        self.failed = False  # some record of the carrier has failed
        self.done_in_s3: tuple[str, Storage] | None = None  # the type of the source, and where
        self._invocation = invocation
        self._foretold = foretold
        self._carrier = carrier
        self._stays: Once[bool] = Once()
        self._outcomes: Once[dict[str, Any]] = Once()

    def act(self, record: Record) -> Record:
        settings = self._invocation.configuration.settings(record.object)
        places = places_of(record, settings)
        if not places:
            return record
        if self.failed:
            self._invocation.say(f"{self._carrier}: nothing is removed while a record of it fails")
            return record
        if not (settings.max_stage.reaches(Stage.SYNCED_S3) or self._stays_here(record, settings)):
            return record
        outcome = self._outcomes.of(
            " ".join(places),
            lambda: _rotated(self._invocation, self._foretold, record, settings, places),
        )
        if Place.S3 in places:
            self.done_in_s3 = record.object.type, settings.storage
        return reached(
            record.with_fields(**outcome), settings, places, dry_run=self._foretold is not None
        )

    def _stays_here(self, record: Record, settings: Settings) -> bool:
        """Return whether nothing of the carrier goes to S3.

        Else the records of objects that go there rotate it: when they come, tb-upload has
        finished the carrier. A record that tb-upload only passes on may come before that.
        """
        return self._stays.of(
            self._carrier,
            lambda: not _local_holding(self._invocation, record, settings).goes_to_s3,
        )


def _local_holding(invocation: Invocation, record: Record, settings: Settings) -> Holding:
    catalog, carrier = invocation.catalog(settings.storage), record.carrier
    here = [
        Stored(snapshot, local=True, s3=False) for snapshot in catalog.local.snapshots(carrier)
    ]
    now = invocation.clock()
    return Holding.of(carrier, [record.object], invocation.configuration, catalog, here, now)


def _clear_forgotten(invocation: Invocation, rotations: Mapping[Carrier, _Rotation]) -> None:
    """Clear what was begun for dropped objects, of which no record comes any more."""

    def act(record: Record) -> Record:
        with carrier_lock(storage.local_dir, record.carrier):
            keeping = keeping_of(source_type)
            keeping.clear(catalog, record.carrier, invocation.clock(), invocation.say)
        return record

    done = {rotation.done_in_s3 for rotation in rotations.values() if rotation.done_in_s3}
    for source_type, storage in done:
        catalog = invocation.catalog(storage)
        for carrier in sorted(set(catalog.local.begun(source_type)).difference(rotations)):
            if not _may_lie_in(storage, carrier, invocation.configuration):
                continue
            record = invocation.attempt(of_source(carrier, source_type), act)
            if record.failed:
                invocation.emit(record)


def _may_lie_in(storage: Storage, carrier: Carrier, configuration: Configuration) -> bool:
    """Return whether the carrier may lie in this storage, and not in another bucket.

    A run on some objects sees no records of what lies in another bucket, though it is not
    forgotten. A carrier of many objects names none of them, and may always lie here.
    """
    if not carrier.is_object:
        return True
    return configuration.settings(ObjectId.parse(carrier)).storage == storage


def _rotated(
    invocation: Invocation,
    foretold: Foretold | None,
    record: Record,
    settings: Settings,
    places: Sequence[Place],
) -> dict[str, Any]:
    """Rotate a carrier under its lock: only what the verdicts name is removed."""
    carrier, catalog = record.carrier, invocation.catalog(settings.storage)
    keeping, configuration = keeping_of(record.object.type), invocation.configuration
    live, now, started = [record.object], invocation.clock(), time.monotonic()
    with carrier_lock(settings.storage.local_dir, carrier):
        snapshots = catalog.snapshots(carrier)
        holding = Holding.of(carrier, live, configuration, catalog, snapshots, now)
        verdicts = _verdicts(holding, catalog.holds)
        decided = [verdict for verdict in verdicts if verdict.place in places]
        require_data(catalog, carrier, verdicts, places)
        in_s3 = Place.S3 in places and catalog.s3 is not None
        kept = [each.snapshot for each in verdicts if each.counted and each.place is Place.S3]
        if foretold is not None:
            wal = moments.expendable(catalog, carrier, kept if in_s3 else (), invocation.say)
            return _foretell(invocation, foretold, holding, decided, wal)
        if in_s3:
            claim_to_rotate(catalog)
            keeping.clear(catalog, carrier, now, invocation.say)
        rotation = Rotation(keeping, catalog, carrier, invocation.say)
        removed: dict[str, Any] = rotation.carry_out(decided)
        if in_s3:
            removed.update(rotation.still_locked(staying(decided, carrier, catalog, now)))
            wal = moments.expendable(catalog, carrier, kept, invocation.say)
            removed.update(rotation.remove_wal(wal))
            removed.update(rotation.clear_holds(snapshots, now, host_zone(os.environ)))
            if not catalog.storage.foreign:  # else its host may be sending these just now
                rotation.report_unclaimed()
        rotation.report_nameless(record.fields)
        return {"removed": {**removed, "seconds": round(time.monotonic() - started, 3)}}


def _verdicts(holding: Holding, holds: Holds) -> list[Verdict]:
    """Return the verdicts, by the holds of this moment if anything is to go."""
    verdicts = holding.verdicts()
    if all(verdict.keep for verdict in verdicts):
        return verdicts
    holds.look_again(holding.carrier)
    return holding.verdicts()


def _foretell(
    invocation: Invocation,
    foretold: Foretold,
    holding: Holding,
    decided: Sequence[Verdict],
    wal: Sequence[LogVerdict],
) -> dict[str, Any]:
    """Return the verdicts for a record, and add them to what is said at the end."""
    carrier, catalog = holding.carrier, holding.catalog
    sizes = sizes_of(catalog, carrier, [each for each in decided if not each.keep])
    locked = staying(decided, carrier, catalog, holding.now)
    foretold.add(decided, sizes, catalog.holds.in_force(carrier, holding.now), locked)
    for log_verdict in wal:
        invocation.say(f"{carrier}: {moments.why_expendable(log_verdict)}")
    of_wal = [{**moments.extent([verdict]), "reason": verdict.reason} for verdict in wal]
    return {"verdicts": described(decided), **({"wal_verdicts": of_wal} if of_wal else {})}
