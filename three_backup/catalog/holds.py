"""Holds: snapshots that somebody keeps whatever retention says; each is a key in S3.

One listing tells which there are. A hold is read when its carrier is asked for: most have none.
Where signatures count, an unsigned one holds for ever, whatever it says.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Self

from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.local_time import local
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId, rfc3339
from three_backup.s3 import documents
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store

_VERSION = 1
_UNSIGNED = "manifest_key did not sign this hold; hold it anew with tb-keep, or release it"
"""The reason of a hold that somebody else may have written: who shortens one gains nothing."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A snapshot that is kept, with all that it needs."""

    carrier: Carrier
    snapshot: SnapshotId
    until: datetime | None = None  # aware UTC; None: for ever
    reason: str = ""  # for a person, one line; may be empty

    def has_ended(self, now: datetime) -> bool:
        return self.until is not None and self.until <= now

    def told(self, zone: tzinfo) -> str:
        """Say for a person how long it is held, and why."""
        how_long = f"held until {local(self.until, zone)}" if self.until else "held for ever"
        return f"{how_long}: {self.reason}" if self.reason else how_long

    @property
    def how(self) -> dict[str, Any]:
        """Until when and why, for a record."""
        return {"until": self.until and rfc3339(self.until), "reason": self.reason}

    def to_json(self) -> bytes:
        names = {"carrier": self.carrier, "snapshot": str(self.snapshot)}
        fields = {"v": _VERSION, **names, **self.how}
        return json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"

    @classmethod
    def from_json(cls, body: bytes, carrier: Carrier, snapshot: SnapshotId) -> Self:
        """Read the hold of this snapshot. Raises ValueError, TypeError or KeyError if it is none.

        A reason that has control characters, whoever wrote it, is brought into one line.
        """
        fields: Mapping[str, Any] = json.loads(body)
        if fields["v"] != _VERSION:
            raise ValueError(f"version {fields['v']}")
        until = fields["until"]
        ends = None if until is None else datetime.fromisoformat(until).astimezone(UTC)
        return cls(carrier, snapshot, ends, one_line(str(fields.get("reason", ""))))


class Holds:
    """The holds below one prefix; none without a bucket."""

    def __init__(self, store: Callable[[], Store | None]) -> None:
        self._store = store
        self._listed: dict[Carrier, dict[SnapshotId, Hold | None]] | None = None
        self._unlisted: BackupError | None = None

    def carriers(self) -> list[Carrier]:
        """Return the carriers that have holds, sorted."""
        return sorted(self._all())

    def snapshots(self, carrier: Carrier) -> list[SnapshotId]:
        """Return the snapshots of a carrier that are held, whatever their holds say."""
        return sorted(self._all().get(carrier, ()), key=str)

    def of(self, carrier: Carrier) -> list[Hold]:
        """Return the holds of a carrier, those of the oldest snapshots first.

        Raises BackupError if one of them cannot be read.
        """
        known = self._all().get(carrier, {})
        for snapshot in [snapshot for snapshot, hold in known.items() if hold is None]:
            try:
                known[snapshot] = self._read(carrier, snapshot)
            except MissingError:  # released since it was listed
                del known[snapshot]
        holds = (hold for hold in known.values() if hold is not None)
        return sorted(holds, key=lambda hold: str(hold.snapshot))

    def in_force(self, carrier: Carrier, now: datetime) -> dict[SnapshotId, Hold]:
        """Return the holds of a carrier that have not ended. Raises BackupError as `of` does."""
        return {hold.snapshot: hold for hold in self.of(carrier) if not hold.has_ended(now)}

    def look_again(self, carrier: Carrier) -> None:
        """List the carrier's holds anew: since the others were listed, one may have been added."""
        store, listed = self._store(), self._all()
        if store is not None:
            found = _listed(store, f"{layout.hold_folder(carrier)}/")
            listed[carrier] = found.get(carrier, {})

    def put(self, hold: Hold) -> None:
        """Store a hold, in place of an earlier one of the snapshot."""
        key = layout.hold_key(hold.carrier, hold.snapshot)
        documents.write(self._bucket, key, hold.to_json())
        self._all().setdefault(hold.carrier, {})[hold.snapshot] = hold

    def remove(self, carrier: Carrier, snapshot: SnapshotId) -> None:
        self._bucket.delete([layout.hold_key(carrier, snapshot)])
        self._all().get(carrier, {}).pop(snapshot, None)

    @property
    def _bucket(self) -> Store:
        store = self._store()
        if store is None:
            raise ValueError("without a bucket there are no holds")
        return store

    def _all(self) -> dict[Carrier, dict[SnapshotId, Hold | None]]:
        """Return the holds by carrier, None for those not yet read.

        Raises BackupError, and the same one in each later call: else each carrier would wait.
        """
        if self._unlisted is not None:
            raise self._unlisted
        if self._listed is None:
            store = self._store()
            try:
                self._listed = {} if store is None else _listed(store, f"{layout.KEEP}/")
            except BackupError as error:
                self._unlisted = error
                raise
        return self._listed

    def _read(self, carrier: Carrier, snapshot: SnapshotId) -> Hold:
        key = layout.hold_key(carrier, snapshot)
        body = self._bucket.read(key)
        if not documents.is_genuine(self._bucket, key, body):
            return Hold(carrier, snapshot, None, _UNSIGNED)
        try:
            return Hold.from_json(body, carrier, snapshot)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise BackupError(
                "keep.malformed",
                f"{self._bucket.place(key)}: this is not a hold ({type(error).__name__}: {error})",
                "nothing of the carrier is removed until you hold the snapshot anew with tb-keep, "
                f"or release it: tb-keep --release {carrier} {snapshot}",
            ) from error


def one_line(text: str) -> str:
    """Return the text as one line, without characters that a terminal would obey."""
    printable = (character if character.isprintable() else " " for character in text)
    return " ".join("".join(printable).split())


def _listed(store: Store, folder: str) -> dict[Carrier, dict[SnapshotId, Hold | None]]:
    found: dict[Carrier, dict[SnapshotId, Hold | None]] = {}
    for key in store.all_names(folder):
        held = layout.parse_hold_key(key)
        if held is not None:
            found.setdefault(held[0], {})[held[1]] = None
    return found
