"""The figures of each carrier, of which metrics are made."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.sizes import SizeMemory
from three_backup.model.dependencies import Place
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Stored
from three_backup.model.storage import Storage
from three_backup.model.wal import Wal
from three_backup.sources import source_of
from three_backup.sources.logged import Log
from three_backup.watching.last_run import LastRun
from three_backup.watching.overview import WatchedCarrier

_GONE, _OFF = -1, -2


@dataclass(frozen=True, slots=True)
class Looked:
    """What only a look at the catalog tells of a carrier. A time is None for never."""

    state: int  # a Level; -1 if its source lost it, -2 if it is not to be backed up
    oldest: datetime | None = None  # when the oldest snapshot was taken that can be restored
    due: datetime | None = None  # when the first snapshot was or is due that is not there
    drills: Collection[datetime] = ()  # the last good one of each object that had one
    failed_drills: int = 0
    snapshots: Mapping[Place, int] | None = None  # None: it has no catalog
    stored: Mapping[Place, int] | None = None  # their bytes; None: not known yet
    log: Log | None = None  # what lies between the snapshots in S3
    log_max_age: timedelta | None = None  # None: no log is wanted
    # When the newest copy in each further store was taken, by the name of the store.
    copied: Mapping[str, datetime | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a carrier. A time is None for never."""

    carrier: Carrier
    objects: int
    base: datetime | None  # when the newest base was taken
    newest: datetime | None  # when the newest snapshot was taken
    uploaded: datetime | None  # when the newest snapshot in S3 was taken
    failing: bool
    looked: Looked | None = None  # None: only the run told of it


def of_run(run: LastRun) -> list[Measured]:
    """Return what the run knows without asking S3 again."""
    return [
        Measured(
            carrier, made.objects, made.base, made.newest, made.uploaded, made.why is not None
        )
        for carrier, made in sorted(run.carriers.items())
        if not made.disabled
    ]


def of_look(watched: Sequence[WatchedCarrier], last: LastRun | None) -> list[Measured]:
    """Return all that is known. Reads some manifests, the sizes of which are remembered."""
    memories: dict[Storage, SizeMemory] = {}
    found = [_one(each, last, memories) for each in watched]
    for memory in memories.values():
        memory.remember()
    return found


def _one(
    watched: WatchedCarrier, last: LastRun | None, memories: dict[Storage, SizeMemory]
) -> Measured:
    health = watched.health
    made = last.carriers.get(watched.carrier) if last else None
    return Measured(
        watched.carrier,
        len(watched.objects),
        health.base,
        health.chain.newest if health.chain else None,
        health.uploaded,
        made is not None and made.why is not None,
        _looked(watched, memories),
    )


def _looked(watched: WatchedCarrier, memories: dict[Storage, SizeMemory]) -> Looked:
    health, catalog = watched.health, watched.catalog
    snapshots, stored = None, None
    if catalog is not None:
        filled = catalog.filled(watched.carrier)
        snapshots = dict(_counted(filled))
        stored = _bytes(watched.carrier, filled, catalog, memories)
    return Looked(
        _state(watched),
        health.oldest,
        health.due,
        list(watched.proved.values()),
        watched.failed_drills,
        snapshots,
        stored,
        watched.log,
        _log_max_age(watched),
        health.copied,
    )


def _state(watched: WatchedCarrier) -> int:
    if watched.gone:
        return _GONE
    return _OFF if watched.disabled else int(watched.health.level)


def _counted(snapshots: Sequence[Stored]) -> Iterator[tuple[Place, int]]:
    yield Place.LOCAL, sum(stored.local for stored in snapshots)
    yield Place.S3, sum(stored.s3 for stored in snapshots)


def _bytes(
    carrier: Carrier,
    snapshots: Sequence[Stored],
    catalog: Catalog,
    memories: dict[Storage, SizeMemory],
) -> Mapping[Place, int] | None:
    memory = memories.get(catalog.storage)
    if memory is None:
        memory = memories[catalog.storage] = SizeMemory(catalog)
    stored = memory.stored(carrier, snapshots)
    if stored is None or source_of(carrier.type).kept is Kept.FOLDERS:
        return stored
    return {Place.S3: stored[Place.S3]}  # of what the source itself keeps no manifest tells


def _log_max_age(watched: WatchedCarrier) -> timedelta | None:
    wanted = [own.wal_max_age for own in watched.settings if own.wal is not Wal.OFF]
    return wanted[0] if watched.log is not None and wanted else None
