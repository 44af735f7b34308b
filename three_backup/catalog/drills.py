"""The last good and the last failed drill of each object, stored in S3.

Each object has two keys, `good.json` and `failed.json`, and two more for the drills of moments
between snapshots. A listing tells how old each is, so that nobody has to read thousands of keys.
Where signatures count, it proves nothing: each key is read once, and tells its own time.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any

from three_backup.catalog import drill_form
from three_backup.catalog.signed_memory import SignedMemory
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import rfc3339
from three_backup.s3 import documents
from three_backup.s3.client import THREADS
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store

_FOLDER = "drills/"
_MEMORY = "drills"


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
        return self._newest(object_id, proof.good)

    def last_failed(self, object_id: str, proof: Proof = Proof.SNAPSHOT) -> datetime | None:
        """Return the time of a drill that failed after the last good one, or None."""
        return self._newest(object_id, proof.failed)

    def facts(self, object_id: ObjectId) -> Mapping[str, Any]:
        """Return what the last good drill of a snapshot found; empty if there is none."""
        return {} if self.last_good(str(object_id)) is None else self.found(object_id)

    def found(self, object_id: ObjectId) -> Mapping[str, Any]:
        """Return the same without a listing. Raises MissingError if there is none."""
        *others, last = self._keys(str(object_id), Proof.SNAPSHOT.good)
        for key in others:
            with suppress(MissingError):
                return self._read(key)
        return self._read(last)

    def remember(self, drill: Drill, *, good: bool) -> None:
        """Store the drill; a good one deletes an earlier failure. Other names of it go, too."""
        body, proof = {"v": 1, "id": str(drill.object), **drill.fields}, drill.proof
        key, *older = self._keys(str(drill.object), proof.good if good else proof.failed)
        document = json.dumps(body, ensure_ascii=False).encode() + b"\n"
        documents.write(self._store, key, drill_form.body(self._store, key, document))
        failed = self._keys(str(drill.object), proof.failed) if good else ()
        self._store.delete(each for each in (*older, *failed) if each in self._listed)

    def _newest(self, object_id: str, name: str) -> datetime | None:
        times = map(self._listed.get, self._keys(object_id, name))
        return max((time for time in times if time is not None), default=None)

    def _keys(self, object_id: str, name: str) -> list[str]:
        return [f"{_FOLDER}{each}/{name}" for each in drill_form.folders(self._store, object_id)]

    @cached_property
    def _listed(self) -> dict[str, datetime]:
        return dict(self._times())

    def _times(self) -> Iterable[tuple[str, datetime]]:
        keyring = self._store.storage.manifest_key
        if keyring is None:
            return ((stored.key, stored.modified) for stored in self._store.keys(_FOLDER))
        return self._signed_times(SignedMemory(self._store.storage, keyring))

    def _signed_times(self, memory: SignedMemory) -> list[tuple[str, datetime]]:
        """Return the times that signed drills tell. Those of which the ETag is known are not read.

        The time of a key is that of the last write, and an old drill can be written again.
        """
        before, etags = memory.read(_MEMORY), dict(self._store.all_etags(_FOLDER))
        known = {
            key: before[key]
            for key, etag in etags.items()
            if before.get(key, "").rpartition(" ")[0] == etag
        }
        unread = [key for key in etags if key not in known]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="drills") as pool:
            for key, told in zip(unread, pool.map(self._read_if_there, unread), strict=True):
                known[key] = f"{etags[key]} {told.get('time', '')}"
        if known != before:
            memory.write(_MEMORY, known)
        spoken = ((key, told.rpartition(" ")[2]) for key, told in known.items())
        return [(key, datetime.fromisoformat(time)) for key, time in spoken if time]

    def _read_if_there(self, key: str) -> Mapping[str, Any]:
        with suppress(MissingError):
            return self._read(key)
        return {}

    def _read(self, key: str) -> Mapping[str, Any]:
        """Read a drill; return nothing if it is malformed or unsigned, and so proves nothing.

        The next drill rewrites it. Raises MissingError.
        """
        body = self._store.read(key)
        if not documents.is_genuine(self._store, key, body):
            return {}
        try:
            fields = json.loads(drill_form.document(self._store, key, body))
        except ValueError:
            return {}
        return fields if isinstance(fields, dict) else {}
