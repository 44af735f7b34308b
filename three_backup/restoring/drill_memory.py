"""Remembers in S3 what drills found, and looks up what they found before."""

from collections.abc import Mapping
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.drills import Drill, Drills
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.pipe import Invocation


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
        try:
            catalog.claim(renew=False)
            self.of(catalog).remember(drill, good=good)
        except BackupError as error:
            self._invocation.say(f"{error.message}: what is proved here is not remembered there")
