"""When each object was last proved to come back, as S3 remembers it.

Two keys an object, `good.json` and `failed.json`: how old the last drill of either outcome is
stands in a listing, so that nobody reads thousands of keys to see it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from three_backup.model import layout
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import rfc3339
from three_backup.s3.store import Store

_FOLDER = "drills/"
_GOOD = "good.json"
_FAILED = "failed.json"


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill of one object. seconds: how long it took to bring back; facts: what was found
    (rows, content), or the error."""

    object: ObjectId
    snapshot: str
    time: datetime
    seconds: float
    facts: Mapping[str, Any]

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "snapshot": self.snapshot,
            "time": rfc3339(self.time),
            "seconds": self.seconds,
            **self.facts,
        }


class Drills:
    """Those of one prefix; listed once, a request a thousand keys, when first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def last_good(self, id: str) -> datetime | None:
        """By the server's clock."""
        return self._listed.get((id, _GOOD))

    def last_failed(self, id: str) -> datetime | None:
        """None where none failed since the last good one."""
        return self._listed.get((id, _FAILED))

    def facts(self, object_id: ObjectId) -> Mapping[str, Any]:
        """What the last good drill found; nothing where there was none."""
        if self.last_good(str(object_id)) is None:
            return {}
        try:
            fields = json.loads(self._store.read(_key(object_id, _GOOD)))
        except ValueError:  # what cannot be read proves nothing, and is written anew
            return {}
        return fields if isinstance(fields, dict) else {}

    def remember(self, drill: Drill, good: bool) -> None:
        """A good drill makes an earlier failure out of date."""
        body = {"v": 1, "id": str(drill.object), **drill.fields}
        key = _key(drill.object, _GOOD if good else _FAILED)
        self._store.write(key, json.dumps(body, ensure_ascii=False).encode() + b"\n")
        if good and (str(drill.object), _FAILED) in self._listed:
            self._store.delete([_key(drill.object, _FAILED)])

    @cached_property
    def _listed(self) -> dict[tuple[str, str], datetime]:
        found = {}
        for stored in self._store.keys(_FOLDER):
            folder, _, name = stored.key.removeprefix(_FOLDER).rpartition("/")
            found[layout.carrier(folder), name] = stored.modified
        return found


def _key(object_id: ObjectId, name: str) -> str:
    return f"{_FOLDER}{layout.path(str(object_id))}/{name}"
