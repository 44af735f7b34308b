"""Finds the snapshot that an object is restored from."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from three_backup.catalog.carriers import record_of
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.elsewhere import has_a_copy
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError
from three_backup.keeping import keeping_of
from three_backup.model.local_time import local
from three_backup.model.objects import Carrier, ObjectId, can_match_below, has_wildcard, matches
from three_backup.model.records import Record
from three_backup.model.snapshots import CarriedObject, SnapshotId
from three_backup.restoring.nothing_found import SHOWN, Whereabouts
from three_backup.restoring.snapshot_choice import Choice, whole_snapshots
from three_backup.screen.formats import duration
from three_backup.sources import SOURCES
from three_backup.sources.jobs import Landing

_CarrierIn = tuple[Catalog, Carrier]
_SHARED = ""


@dataclass(frozen=True, slots=True)
class Held:
    """An object in a snapshot that holds it."""

    object: CarriedObject
    snapshot: Snapshot
    gone: bool = False  # a newer allowed snapshot of the carrier lacks the object
    landing: Landing | None = None  # the moment to restore, if it is not that of the snapshot
    missed: datetime | None = None  # the wanted time, if the snapshot is older

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for a person who expects to restore the newest snapshot."""
        return tuple(self._notes())

    def _notes(self) -> Iterator[str]:
        if self.gone:
            yield f"newer snapshots than {self.snapshot.id} do not hold it: it was gone by then"
        if self.missed:
            yield older_than(self.missed, self.snapshot)

    @property
    def moment(self) -> tuple[str, SnapshotId, str]:
        """A key that is equal for all that is brought back of one moment."""
        return (*self.snapshot.name, repr(self.landing and self.landing.stop))

    def is_at_source(self) -> bool:
        """Return whether the snapshot is a point that needs nothing from S3."""
        keeping = keeping_of(self.object.id.type)
        snapshot = self.snapshot
        return keeping.is_at_source(snapshot.catalog, snapshot.carrier, snapshot.stored)


def older_than(wanted: datetime, snapshot: Snapshot) -> str:
    """Return the note that a snapshot is so much older than the wanted time."""
    taken = local(snapshot.id.time, wanted.tzinfo or UTC)
    seconds = (wanted - snapshot.id.time).total_seconds()
    return f"it is as of {taken}, {duration(seconds)} before the wanted moment"


Broken = tuple[Carrier, BackupError]
"""A carrier or an object, and why a manifest that it needs cannot be read."""


def recorded(found: Held | Broken) -> tuple[Record, Held | BackupError]:
    """Return a new record of what was found by a pattern, and what to restore or why not."""
    if isinstance(found, Held):
        size = found.object.size
        return Record.of(found.object.id, size=size, carrier=found.snapshot.carrier), found
    carrier, error = found
    return record_of(carrier), error


class Finder:
    """Finds the newest allowed snapshot of an object.

    Reads no manifest twice, and none of a carrier that cannot hold the object.
    """

    def __init__(self, catalogs: Sequence[Catalog], choice: Choice) -> None:
        self._catalogs = catalogs
        self._choice = choice
        self._whereabouts = Whereabouts(catalogs)
        self._listed: dict[str, dict[str, list[_CarrierIn]]] = {}
        self._objects: dict[tuple[str, SnapshotId], dict[ObjectId, CarriedObject]] = {}
        self._others: dict[Catalog, Finder] = {}  # of copies

    def one(self, object_id: ObjectId) -> Held:
        """Return the object in the last allowed snapshot that holds it.

        Raises BackupError where none holds it, or where a newer one cannot be read.
        """
        held = self._last(object_id)
        if held is None:  # thousands of records may fail so: nothing is looked up for a hint
            raise self._not_held(str(object_id), SHOWN)
        return held

    def all(self, pattern: str) -> list[Held | Broken]:
        """Return the objects that the pattern selects in the newest allowed snapshots.

        Without a wildcard the pattern may be an id: then every allowed snapshot is looked through.
        Raises NothingFoundError where nothing is found, or BackupError where --at is too early.
        """
        if not has_wildcard(pattern) and Carrier(pattern).is_object:
            found = self._by_id(ObjectId.parse(pattern))
        else:
            found = self._by_pattern(pattern)
        if not found:
            raise self._not_held(pattern, self.near(pattern))
        return found

    def near(self, pattern: str) -> str:
        """Return what comes nearest to an id or a pattern, in words for a person."""
        return self._whereabouts.near(pattern)

    def _by_id(self, object_id: ObjectId) -> list[Held | Broken]:
        try:
            held = self._last(object_id)
        except BackupError as error:
            return [(Carrier(object_id), error)]
        return [] if held is None else [held]

    def _by_pattern(self, pattern: str) -> list[Held | Broken]:
        newest: dict[ObjectId, Held] = {}
        broken: list[Broken] = []
        types = [source.type for source in SOURCES if can_match_below(pattern, source.type)]
        for found in (
            found for source_type in types for found in self._newest(source_type, pattern)
        ):
            if not isinstance(found, Held):
                broken.append(found)
                continue
            other = newest.get(found.object.id)
            if other is None or other.snapshot.id.time < found.snapshot.id.time:
                newest[found.object.id] = found
        return [*newest.values(), *broken]

    def _last(self, object_id: ObjectId) -> Held | None:
        """Look through the snapshots of all carriers, the newest first; read none after a hit."""
        carriers = self._carriers(object_id.type)
        shared, own = carriers.get(_SHARED, []), carriers.get(str(object_id), [])
        snapshots = [
            (snapshot, number > 0)
            for catalog, carrier in (*shared, *own)
            for number, snapshot in enumerate(self._choice.of_carrier(catalog, carrier))
        ]
        snapshots.sort(key=lambda entry: entry[0].id.time, reverse=True)
        for snapshot, gone in snapshots:
            carried = self._held(snapshot).get(object_id)
            if carried is not None:
                return Held(carried, snapshot, gone)
        return None

    def _newest(self, source_type: str, pattern: str) -> Iterator[Held | Broken]:
        for object_id, carriers in self._carriers(source_type).items():
            if object_id == _SHARED or matches(pattern, object_id):
                for catalog, carrier in carriers:
                    for snapshot in islice(self._choice.of_carrier(catalog, carrier), 1):
                        yield from self._matching(snapshot, pattern)

    def _matching(self, snapshot: Snapshot, pattern: str) -> Iterator[Held | Broken]:
        try:
            held = self._held(snapshot)
        except BackupError as error:
            yield snapshot.carrier, error
            return
        for object_id, carried in held.items():
            if matches(pattern, str(object_id)):
                yield Held(carried, snapshot)

    def _carriers(self, source_type: str) -> dict[str, list[_CarrierIn]]:
        """Return carriers by the id of the one object that they hold; all others under _SHARED."""
        if source_type not in self._listed:
            listed = self._listed[source_type] = {}
            for catalog in self._catalogs:
                for carrier in catalog.carriers(source_type):
                    object_id = carrier if carrier.is_object else _SHARED
                    listed.setdefault(object_id, []).append((catalog, carrier))
        return self._listed[source_type]

    def _held(self, snapshot: Snapshot) -> dict[ObjectId, CarriedObject]:
        if snapshot.name not in self._objects:
            objects = snapshot.manifest().objects
            self._objects[snapshot.name] = {carried.id: carried for carried in objects}
        return self._objects[snapshot.name]

    def _not_held(self, pattern: str, hint: str) -> BackupError:
        if early := self._too_early(pattern):
            return early
        partial = any(catalog.partial for catalog in self._catalogs)
        if store := self._elsewhere(pattern):
            hint = has_a_copy(store)
        meant = "on this host, while S3 cannot be read," if partial else "that may be restored"
        return self._whereabouts.not_found(
            "restore.not_found", f"{pattern}: no snapshot {meant} holds it", hint
        )

    def _elsewhere(self, pattern: str) -> str | None:
        """Return the name of a further store with a snapshot that may be restored instead."""
        beside = (other for catalog in self._catalogs for other in catalog.beside)
        for catalog in dict.fromkeys(beside):
            finder = self._others.setdefault(catalog, Finder([catalog], self._choice))
            with suppress(BackupError):
                if any(isinstance(found, Held) for found in finder.all(pattern)):
                    return catalog.storage.store
        return None

    def _too_early(self, pattern: str) -> BackupError | None:
        if self._choice.at is None:
            return None
        types = [source.type for source in SOURCES if can_match_below(pattern, source.type)]
        holders = (
            self._oldest(catalog, carrier, pattern)
            for source_type in types
            for object_id, carriers in self._carriers(source_type).items()
            if object_id == _SHARED or matches(pattern, object_id)
            for catalog, carrier in carriers
        )
        return self._choice.too_early(pattern, filter(None, holders))

    def _oldest(self, catalog: Catalog, carrier: Carrier, pattern: str) -> Snapshot | None:
        """Return the oldest whole snapshot of the carrier that holds what the pattern selects."""
        for snapshot in whole_snapshots(catalog, carrier):
            with suppress(BackupError):
                held = self._held(snapshot)
                if carrier.is_object or any(
                    matches(pattern, str(object_id)) for object_id in held
                ):
                    return snapshot
        return None
