"""Remembers in S3 what drills found, and looks up what they found before."""

from collections.abc import Mapping
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.drills import Drill, Drills
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.pipe import Invocation
from three_backup.sources.base import Restored

_COMPARED = ("rows", "content")
"""Facts in which no two drills of one snapshot may differ."""


class Memory:
    """Remembers the drills of each storage. The prefix of another host is only read."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._drills: dict[int, Drills] = {}

    def of(self, catalog: Catalog) -> Drills:
        return self._drills.setdefault(id(catalog), Drills(catalog.bucket))

    def before(self, catalog: Catalog, object_id: ObjectId) -> Mapping[str, Any]:
        """Return what the last good drill found; nothing where that cannot be read."""
        try:
            return self.of(catalog).facts(object_id)
        except BackupError as error:
            self._invocation.say(f"{error.message}: nothing is compared with the last drill")
            return {}

    def remember(self, catalog: Catalog, drill: Drill, *, good: bool) -> None:
        if catalog.storage.read_only:
            return  # another tool writes there
        try:
            catalog.claim(renew=False)
            self.of(catalog).remember(drill, good=good)
        except BackupError as error:
            self._invocation.say(f"{error.message}: what is proved here is not remembered there")


def compared(
    object_id: ObjectId, snapshot: str, outcome: Restored, before: Mapping[str, Any]
) -> Restored | BackupError:
    """Return the outcome; an error where the same snapshot gave other rows or content before."""
    if before.get("snapshot") != snapshot:
        return outcome
    for name in _COMPARED:
        then, now = before.get(name), outcome.facts.get(name)
        if then is not None and now is not None and then != now:
            return BackupError(
                "verify.differs",
                f"{object_id}: {name} of snapshot {snapshot} were {then} at {before.get('time')} "
                f"and are {now} now",
                "restore another snapshot; the next base replaces it",
            )
    return outcome
