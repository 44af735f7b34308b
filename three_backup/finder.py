"""Which snapshot an object is restored out of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from three_backup.catalog import Catalog, Stored
from three_backup.choice import Choice
from three_backup.errors import BackupError
from three_backup.objects import LEVELS, ObjectId, can_match_below, has_wildcard, matches
from three_backup.snapshots import CarriedObject, SnapshotId
from three_backup.sources import SOURCES
from three_backup.whereabouts import not_found


@dataclass(frozen=True, slots=True)
class Held:
    """An object in a snapshot that holds it. gone: a newer one, just as eligible, does not."""

    object: CarriedObject
    catalog: Catalog
    carrier: str
    stored: Stored
    gone: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know who restores it, thinking of the newest snapshot."""
        if not self.gone:
            return ()
        return (f"newer snapshots than {self.stored.id} do not hold it: it was gone by then",)

    @property
    def place(self) -> tuple[str, SnapshotId]:
        return self.carrier, self.stored.id


class Finder:
    """Finds the newest allowed snapshot of an object; reads no manifest twice."""

    def __init__(self, catalogs: Sequence[Catalog], choice: Choice) -> None:
        self._catalogs = catalogs
        self._choice = choice
        self._objects: dict[tuple[str, SnapshotId], dict[ObjectId, CarriedObject]] = {}

    def one(self, object_id: ObjectId) -> Held:
        """Out of whichever snapshot held it last. Raises BackupError where none did."""
        newest = max(
            (
                held
                for catalog, carrier, snapshots in self._carriers(object_id.type)
                if (held := self._last(catalog, carrier, snapshots, object_id)) is not None
            ),
            key=lambda held: held.stored.id.time,
            default=None,
        )
        if newest is None:
            raise self._not_held(str(object_id))
        return newest

    def all(self, pattern: str) -> list[Held]:
        """What the newest allowed snapshots hold of what the pattern selects.

        Without a wildcard the pattern may be an id: then every snapshot is looked through.
        """
        if not has_wildcard(pattern) and pattern.count("/") == LEVELS - 1:
            return [self.one(ObjectId.parse(pattern))]
        found: dict[ObjectId, Held] = {}
        for source in SOURCES:
            if can_match_below(pattern, source.type):
                for held in self._newest(source.type, pattern):
                    other = found.get(held.object.id)
                    if other is None or other.stored.id.time < held.stored.id.time:
                        found[held.object.id] = held
        if not found:
            raise self._not_held(pattern)
        return list(found.values())

    def _carriers(self, type: str) -> Iterator[tuple[Catalog, str, list[Stored]]]:
        """The carriers with the snapshots of theirs that are allowed, newest first."""
        for catalog in self._catalogs:
            for carrier in catalog.carriers(type):
                allowed = [
                    one for one in catalog.snapshots(carrier) if self._choice.allows(one.id)
                ]
                if allowed:
                    yield catalog, carrier, allowed[::-1]

    def _last(
        self, catalog: Catalog, carrier: str, snapshots: Sequence[Stored], object_id: ObjectId
    ) -> Held | None:
        for stored in snapshots:
            carried = self._held(catalog, carrier, stored).get(object_id)
            if carried is not None:
                return Held(carried, catalog, carrier, stored, gone=stored is not snapshots[0])
        return None

    def _newest(self, type: str, pattern: str) -> Iterator[Held]:
        for catalog, carrier, snapshots in self._carriers(type):
            for object_id, carried in self._held(catalog, carrier, snapshots[0]).items():
                if matches(pattern, str(object_id)):
                    yield Held(carried, catalog, carrier, snapshots[0])

    def _held(
        self, catalog: Catalog, carrier: str, stored: Stored
    ) -> dict[ObjectId, CarriedObject]:
        place = carrier, stored.id
        if place not in self._objects:
            objects = catalog.manifest(carrier, stored).objects
            self._objects[place] = {carried.id: carried for carried in objects}
        return self._objects[place]

    def _not_held(self, pattern: str) -> BackupError:
        return not_found(
            "restore.not_found",
            f"{pattern}: no snapshot that may be restored holds it",
            "tb-list --stored --snapshots shows what there is",
            self._catalogs,
        )
