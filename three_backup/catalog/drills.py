"""The last good and the last failed drill of each object, stored in S3.

Each object has two keys, `good.json` and `failed.json`, and two more for the drills of moments
between snapshots. A listing tells how old each is, so that nobody has to read thousands of keys.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any

from three_backup.model import layout
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import rfc3339
from three_backup.s3.store import Store

_FOLDER = "drills/"


class Proof(Enum):
    """The subject of a drill. Each is remembered by itself: a moment says nothing of a snapshot.

    It is replayed from an older one, and its log has whole pages in place of those stored there.
    """

    SNAPSHOT = ""
    MOMENT = "moment-"  # between snapshots

    @property
    def good(self) -> str:
        return f"{self.value}good.json"

    @property
    def failed(self) -> str:
        return f"{self.value}failed.json"


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill of one object."""

    object: ObjectId
    snapshot: str
    time: datetime
    seconds: float  # how long the restore took
    facts: Mapping[str, Any]  # what was found (rows, content), or the error
    proof: Proof = Proof.SNAPSHOT

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "snapshot": self.snapshot,
            "time": rfc3339(self.time),
            "seconds": self.seconds,
            **self.facts,
        }


class Drills:
    """The drills below one prefix; listed once, when first needed, a request per 1000 keys."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def last_good(self, object_id: str, proof: Proof = Proof.SNAPSHOT) -> datetime | None:
        """Return the time of the last good drill, by the server's clock; None if there is none."""
        return self._listed.get((object_id, proof.good))

    def last_failed(self, object_id: str, proof: Proof = Proof.SNAPSHOT) -> datetime | None:
        """Return the time of a drill that failed after the last good one, or None."""
        return self._listed.get((object_id, proof.failed))

    def facts(self, object_id: ObjectId) -> Mapping[str, Any]:
        """Return what the last good drill of a snapshot found; empty if there is none."""
        return {} if self.last_good(str(object_id)) is None else self.found(object_id)

    def found(self, object_id: ObjectId) -> Mapping[str, Any]:
        """Return the same without a listing. Raises MissingError if there is none."""
        try:
            fields = json.loads(self._store.read(_key(object_id, Proof.SNAPSHOT.good)))
        except ValueError:  # a malformed result proves nothing; the next drill rewrites it
            return {}
        return fields if isinstance(fields, dict) else {}

    def remember(self, drill: Drill, *, good: bool) -> None:
        """Store the drill; a good one deletes an earlier failure."""
        body, proof = {"v": 1, "id": str(drill.object), **drill.fields}, drill.proof
        key = _key(drill.object, proof.good if good else proof.failed)
        self._store.write(key, json.dumps(body, ensure_ascii=False).encode() + b"\n")
        if good and (str(drill.object), proof.failed) in self._listed:
            self._store.delete([_key(drill.object, proof.failed)])

    @cached_property
    def _listed(self) -> dict[tuple[str, str], datetime]:
        found = {}
        for stored in self._store.keys(_FOLDER):
            folder, _, name = stored.key.removeprefix(_FOLDER).rpartition("/")
            found[layout.name(folder), name] = stored.modified
        return found


def _key(object_id: ObjectId, name: str) -> str:
    return f"{_FOLDER}{layout.path(str(object_id))}/{name}"
