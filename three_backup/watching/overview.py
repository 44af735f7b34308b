"""How every known carrier stands, by the catalog and the last run; no source is asked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.drills import Drills, Proof
from three_backup.catalog.hollow_memory import sentence_on
from three_backup.catalog.signatures import sentence_on as unsigned
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock
from three_backup.deciding.holding import distinct
from three_backup.errors import BackupError, UnreachableError
from three_backup.keeping import keeping_of, moments
from three_backup.model.objects import Carrier, ObjectId, can_match_below, selected
from three_backup.model.snapshots import CarriedObject, Stored
from three_backup.model.storage import Storage
from three_backup.sources import SOURCES, source_of
from three_backup.sources.logged import Log
from three_backup.watching import health, log_health, size_alarms
from three_backup.watching.copies import NOTHING, Copies
from three_backup.watching.health import AgeLimits, Health, Level, Trouble
from three_backup.watching.last_run import LastRun, Made

PATIENCE = timedelta(seconds=5)
"""How long S3 is tried: monitoring gives up after ten seconds."""


@dataclass(frozen=True, slots=True)
class WatchedCarrier:
    """A carrier, or a source that the last run could not list."""

    carrier: Carrier
    objects: tuple[CarriedObject, ...]  # those selected, as the newest snapshot has them
    health: Health
    gone: bool = False  # the last run that could list its source saw nothing of it
    disabled: bool = False  # nothing of it is to be backed up
    # When the last good drill of each object was, by its id.
    proved: Mapping[str, datetime] = field(default_factory=dict)
    failed_drills: int = 0  # of the last ones of its objects
    log: Log | None = None  # what lies between its snapshots; None: nothing
    settings: Sequence[Settings] = ()  # those of its enabled objects, each once
    catalog: Catalog | None = None  # where its snapshots lie; None: it has none


@dataclass(frozen=True, slots=True)
class Watch:
    """What to look at, and how."""

    configuration: Configuration
    patterns: Sequence[str]
    last: LastRun | None  # None: no run has ended yet
    patience: AgeLimits
    clock: Clock
    copies: Copies | None = None  # None: further stores are not looked at

    def look(self, catalogs: Iterable[Catalog]) -> list[WatchedCarrier]:
        """Return all that is selected, the worst first. Raises BackupError if S3 is silent."""
        found = {
            watched.carrier: watched for catalog in catalogs for watched in self._stored(catalog)
        }
        unstored = [watched for watched in self._unstored() if watched.carrier not in found]
        chosen = [*(watched for watched in found.values() if watched.objects), *unstored]
        return sorted(chosen, key=lambda watched: (-watched.health.level, watched.carrier))

    def _stored(self, catalog: Catalog) -> Iterator[WatchedCarrier]:
        drills = Drills(catalog.s3) if catalog.s3 else None
        for source_type in (source.type for source in SOURCES):
            for carrier in catalog.carriers(source_type):
                snapshots = catalog.filled(carrier)
                readable = snapshots or catalog.snapshots(carrier)
                objects, unreadable = objects_of(carrier, readable, catalog)
                # Two storages may share a folder on this host: each shows only its own objects.
                if any(self._lies_in(catalog, carried) for carried in objects):
                    yield self._watched(carrier, objects, snapshots, catalog, drills, unreadable)

    def _lies_in(self, catalog: Catalog, carried: CarriedObject) -> bool:
        storage, looked_at = self.configuration.settings(carried.id).storage, catalog.storage
        if looked_at.store:
            storage = replace(self.configuration.copies(looked_at.store, storage), asked=True)
        return storage.is_beside(looked_at)

    def _watched(
        self,
        carrier: Carrier,
        objects: Sequence[CarriedObject],
        snapshots: Sequence[Stored],
        catalog: Catalog,
        drills: Drills | None,
        unreadable: Sequence[str],
    ) -> WatchedCarrier:
        settings = distinct(self.configuration.settings(carried.id) for carried in objects)
        made = self.last.carriers.get(carrier) if self.last else None
        gone = made is None and self.last is not None and carrier.type in self.last.listed
        hollow = catalog.hollow.of(carrier)
        failed = list(_failed(drills, objects, self.clock)) if drills else []
        sentences = [
            *([sentence_on(hollow)] if hollow else ()),
            *unreadable,
            *(() if unreadable else self._alarms(carrier, snapshots, settings, catalog)),
            *failed,
        ]
        log = moments.log_of(catalog, carrier, snapshots)
        alarms = [
            *(Trouble(Level.WARNING, sentence) for sentence in sentences),
            *self._troubles(carrier, log),
        ]
        if foreign := catalog.foreign(carrier):
            alarms.append(Trouble(Level.CRITICAL, unsigned(foreign)))
        copied = self.copies.of(carrier, settings, catalog.storage) if self.copies else NOTHING
        alarms += copied.troubles
        judged = self._judged(carrier, snapshots, settings, made, alarms, copied.newest)
        if gone or not settings:
            judged = _left_alone(judged)
        chosen = tuple(carried for carried in objects if selected(self.patterns, str(carried.id)))
        proved = _proved(drills, chosen) if drills else {}
        return WatchedCarrier(
            carrier,
            chosen,
            judged,
            gone,
            not settings,
            proved,
            len(failed),
            log,
            settings,
            catalog,
        )

    def _troubles(self, carrier: Carrier, log: Log | None) -> Iterator[Trouble]:
        if keeping_of(carrier.type).logged is not None:
            settings = self.configuration.source_settings(carrier.type)
            yield from log_health.troubles(log, settings, self.clock)

    def _alarms(
        self,
        carrier: Carrier,
        snapshots: Sequence[Stored],
        settings: Sequence[Settings],
        catalog: Catalog,
    ) -> list[str]:
        if not snapshots or all(own.size_alarm is None for own in settings):
            return []  # the manifests need not be read
        return list(size_alarms.alarms(carrier, snapshots, self.configuration.settings, catalog))

    def _unstored(self) -> Iterator[WatchedCarrier]:
        """Yield the carriers that the last run saw, with snapshots or without."""
        for carrier, made in (self.last.carriers if self.last else {}).items():
            if made.disabled or not self._is_selected(carrier):
                continue
            if carrier.is_object:
                settings = [self.configuration.settings(ObjectId.parse(carrier))]
            elif made.objects:
                settings = [self.configuration.source_settings(carrier.type)]
            else:
                settings = []  # a source as a whole
            yield WatchedCarrier(carrier, (), self._judged(carrier, (), settings, made))

    def _is_selected(self, carrier: Carrier) -> bool:
        if carrier.is_object:
            return selected(self.patterns, carrier)
        return not self.patterns or any(
            can_match_below(pattern, carrier.type) for pattern in self.patterns
        )

    def _judged(
        self,
        carrier: Carrier,
        snapshots: Sequence[Stored],
        settings: Sequence[Settings],
        made: Made | None,
        alarms: Sequence[Trouble] = (),
        copied: Mapping[str, datetime | None] = MappingProxyType({}),
    ) -> Health:
        return health.judge(
            snapshots,
            settings,
            made,
            self.patience,
            self.clock,
            source_of(carrier.type).kept,
            alarms,
            copied,
        )


def _left_alone(judged: Health) -> Health:
    """Return the health of what nobody expects to be backed up any more."""
    nothing = replace(judged, next_base=None, next_incremental=None, due=None)
    return replace(nothing, level=Level.OK, troubles=())


def hasty(storages: Iterable[Storage]) -> list[Storage]:
    """Return the storages as they are looked at: with little patience."""
    return [replace(storage, timeout=min(storage.timeout, PATIENCE)) for storage in storages]


def worst(watched: Sequence[WatchedCarrier], of_the_run: Sequence[str]) -> Level:
    """Return how everything stands. of_the_run: what is wrong besides the carriers."""
    if not watched and not of_the_run:
        return Level.UNKNOWN
    level = max((carrier.health.level for carrier in watched), default=Level.OK)
    return max(level, Level.WARNING) if of_the_run else level


def objects_of(
    carrier: Carrier, snapshots: Sequence[Stored], catalog: Catalog
) -> tuple[Sequence[CarriedObject], Sequence[str]]:
    """Return the objects of the newest readable manifest, and the errors of newer ones."""
    if carrier.is_object:  # its manifest tells no more; ten thousand need not be fetched
        return [CarriedObject(ObjectId.parse(carrier), 0)], ()
    unreadable: list[str] = []
    for stored in reversed(snapshots):
        try:
            return catalog.manifest(carrier, stored).objects, unreadable
        except UnreachableError:
            raise
        except BackupError as error:
            unreadable.append(str(error))
    raise BackupError("status.unreadable", unreadable[0])


def _proved(drills: Drills, objects: Sequence[CarriedObject]) -> Mapping[str, datetime]:
    found = ((str(carried.id), drills.last_good(str(carried.id))) for carried in objects)
    return {object_id: time for object_id, time in found if time is not None}


def _failed(drills: Drills, objects: Sequence[CarriedObject], clock: Clock) -> Iterator[str]:
    for object_id in (str(carried.id) for carried in objects):
        if time := drills.last_failed(object_id):
            yield f"{object_id}: the drill of {clock.shown(time)} failed, tb-verify says why"
        if time := drills.last_failed(object_id, Proof.MOMENT):
            yield (
                f"{object_id}: the drill of {clock.shown(time)} of a moment between snapshots "
                "failed, tb-verify --between says why"
            )
