"""Explain why a snapshot does not promise some of the live objects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from three_backup.config.settings import Settings
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject
from three_backup.sources.postgres.classes import place_of
from three_backup.sources.postgres.index import Tier
from three_backup.sources.postgres.mapping import FileMap, Unread

_NEXT = "the next snapshot has it"
_OLDER = (
    "restore it from an older snapshot; if only an index of it is damaged, REINDEX TABLE is enough"
)


@dataclass(frozen=True, slots=True)
class Doubts:
    """Objects that cannot be promised, each with the path of the file in question."""

    damaged: Mapping[ObjectId, str]  # needs this file, which has wrong checksums
    uncertain: Mapping[ObjectId, str]  # may own this file, which is left out or local

    def __contains__(self, object_id: object) -> bool:
        return object_id in self.damaged or object_id in self.uncertain


def lacking(
    after: FileMap,
    unread: Sequence[Unread],
    carried: Sequence[CarriedObject],
    doubts: Doubts,
    settings: Callable[[ObjectId], Settings],
) -> dict[str, dict[str, str]]:
    """Return why each enabled live object is not carried, in the form that `why_lacking` reads."""
    found = {
        prefix: _lack(database.error.message, database.error.hint)
        for database in unread
        for prefix in database.prefixes
    }
    held = {carried_object.id for carried_object in carried}
    for known in after.objects.values():
        if known.id not in held and place_of(settings(known.id)) is not Tier.NONE:
            found[str(known.id)] = _reason(known.id, doubts)
    return found


def _reason(object_id: ObjectId, doubts: Doubts) -> dict[str, str]:
    if object_id in doubts.damaged:
        return _lack(
            f"its file {doubts.damaged[object_id]} has pages with wrong checksums", _OLDER
        )
    if object_id in doubts.uncertain:
        return _lack(
            f"it was rewritten meanwhile, and {doubts.uncertain[object_id]}, which no table is "
            "known to have, may be its file; that is left out, or stays on this host, for the "
            "sake of another table",
            "a later snapshot has it, unless it is rewritten during that one too",
        )
    return _lack("it was created or renamed meanwhile", _NEXT)


def _lack(why: str, hint: str) -> dict[str, str]:
    return {"why": why, "hint": hint}
