"""When each object was last proved by a drill, for a list of objects."""

from collections.abc import Sequence
from datetime import datetime

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.drills import Drills
from three_backup.model.records import Record
from three_backup.model.snapshots import rfc3339
from three_backup.model.storage import Storage
from three_backup.screen import formats


class Proved:
    """When each object last passed a drill, by the listing of each storage."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._drills: dict[Storage, Drills] = {}

    def shown(self, catalog: Catalog, records: Sequence[Record]) -> list[Record]:
        drills = self._drills.setdefault(catalog.storage, Drills(catalog.bucket))
        return [record if record.failed else self._one(drills, record) for record in records]

    def age(self, record: Record) -> str:
        """Format the age of the last good drill: `40s`, `3h`, `5d`, or `never`."""
        if record.failed or record.unsupported:
            return ""
        good = record.fields.get("drilled_at")
        return "never" if good is None else formats.age(datetime.fromisoformat(good), self._now)

    def _one(self, drills: Drills, record: Record) -> Record:
        good = drills.last_good(record.id)
        return record.with_fields(drilled_at=None if good is None else rfc3339(good))
