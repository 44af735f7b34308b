"""Decide where the bytes of a table may lie, and whether a change of that needs a base.

The configuration decides places by names, but during a backup files change owners and owners
change names. So a file takes the strictest of the places that its relation had before and after.
A file of an unknown relation takes the strictest place in use in its database.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from three_backup.config.settings import Settings
from three_backup.model.objects import ObjectId
from three_backup.model.stages import Stage
from three_backup.sources.postgres.index import Tier
from three_backup.sources.postgres.mapping import FileMap, Owner, database_of, is_of_initdb

_Key = TypeVar("_Key")
_STRICTNESS = {place: rank for rank, place in enumerate(Tier)}


def place_of(settings: Settings) -> Tier:
    """Return the place of an object with these settings."""
    if settings.disable or settings.max_stage is Stage.EXISTS:
        return Tier.NONE
    if not settings.max_stage.reaches(Stage.SYNCED_S3):
        return Tier.LOCAL
    return Tier.S3


def strictest(places: Iterable[Tier]) -> Tier:
    return max(places, key=_STRICTNESS.__getitem__, default=Tier.S3)


def rose(before: Tier, now: Tier) -> bool:
    """Tell whether bytes that the parent keeps closer may now go farther, which takes a base."""
    return before in (Tier.LOCAL, Tier.NONE) and _STRICTNESS[now] < _STRICTNESS[before]


class Classes:
    """The places of relations: the strictest under one or more mappings.

    unread: by database oid, the places that tables in no mapping may have.
    """

    def __init__(
        self,
        maps: Iterable[FileMap],
        settings: Callable[[ObjectId], Settings],
        unread: Mapping[int, Iterable[Tier]] = MappingProxyType({}),
    ) -> None:
        self._of_owner: dict[Owner | None, Tier] = {None: Tier.CORE}
        self._of_relation: dict[str, Tier] = {}
        maps = tuple(maps)
        for found in maps:
            for owner, known in found.objects.items():
                _tighten(self._of_owner, owner, place_of(settings(known.id)))
        for found in maps:
            for relation, owned_by in found.owners.items():
                _tighten(self._of_relation, relation, self._of_owner[owned_by])
        self._of_database = {database_of(relation): Tier.S3 for relation in self._of_relation}
        for owned_by, place in self._of_owner.items():
            if owned_by is not None:
                _tighten(self._of_database, owned_by.database, place)
        for database, places in unread.items():
            _tighten(self._of_database, database, strictest((Tier.S3, *places)))

    def of_relation(self, relation: str) -> Tier | None:
        """Return the relation's place; None if no mapping knows it (then of_unknown() has it)."""
        place = self._of_relation.get(relation)
        if place is None and is_of_initdb(relation):
            return Tier.CORE
        return place

    def of_unknown(self, database: int) -> Tier:
        """Return the strictest place in use in the database; anywhere, if no mapping knows it."""
        return self._of_database.get(database) or strictest(self._of_database.values())

    def of_owner(self, owner: Owner) -> Tier:
        """Return the strictest place under any name that the owner had."""
        return self._of_owner[owner]


def _tighten(places: dict[_Key, Tier], key: _Key, place: Tier) -> None:
    before = places.get(key, place)
    places[key] = place if before is place else strictest((before, place))
