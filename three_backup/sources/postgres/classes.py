"""Where the bytes of a table may lie, and what follows when that changes.

A place is decided by names, because the configuration knows names; files change owners and owners
change names while a backup runs. So a file takes the strictest place of all that its relation was
before and after, and one that nobody knows takes the strictest place in use at all.
"""

from collections.abc import Callable, Iterable

from three_backup.config.settings import Settings
from three_backup.objects import ObjectId
from three_backup.sources.postgres.index import Place
from three_backup.sources.postgres.mapping import FileMap, Owner, is_of_initdb
from three_backup.stages import Stage

_STRICTNESS = {place: rank for rank, place in enumerate(Place)}


def place_of(settings: Settings) -> Place:
    """The place of an object with these settings."""
    if settings.disable or settings.max_stage is Stage.EXISTS:
        return Place.NONE
    if not settings.max_stage.reaches(Stage.SYNCED_S3):
        return Place.LOCAL
    return Place.S3


def strictest(places: Iterable[Place]) -> Place:
    return max(places, key=_STRICTNESS.__getitem__, default=Place.S3)


def rose(before: Place, now: Place) -> bool:
    """Whether bytes that the parent keeps closer would be needed farther away: time for a base."""
    return before in (Place.LOCAL, Place.NONE) and _STRICTNESS[now] < _STRICTNESS[before]


class Classes:
    """The places of relations under one or more mappings, the strictest of all."""

    def __init__(self, maps: Iterable[FileMap], settings: Callable[[ObjectId], Settings]) -> None:
        self._maps = tuple(maps)
        self._settings = settings
        self._of_object: dict[ObjectId, Place] = {}
        self._of_owner: dict[Owner | None, Place] = {None: Place.CORE}
        self.unknown = strictest(map(self.of_owner, self._all_owners()))

    def of_relation(self, relation: str) -> Place | None:
        """None where no mapping knows the relation: self.unknown is its place in the end."""
        owners = [found.owners[relation] for found in self._maps if relation in found.owners]
        if owners:
            return strictest(map(self.of_owner, owners))
        return Place.CORE if is_of_initdb(relation) else None

    def of_owner(self, owner: Owner | None) -> Place:
        """The strictest place under any name that it had; None is the core."""
        place = self._of_owner.get(owner)
        if place is None and owner is not None:
            names = [found.objects[owner].id for found in self._maps if owner in found.objects]
            place = self._of_owner[owner] = strictest(map(self._of_name, names))
        return place or Place.CORE

    def _of_name(self, id: ObjectId) -> Place:
        if id not in self._of_object:
            self._of_object[id] = place_of(self._settings(id))
        return self._of_object[id]

    def _all_owners(self) -> Iterable[Owner]:
        return (owner for found in self._maps for owner in found.objects)
