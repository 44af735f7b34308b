"""The snapshots that may be restored, by --snapshot and --at."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Self

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import UsageError
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId


@dataclass(frozen=True, slots=True)
class Choice:
    """The snapshots that may be restored: one, or those not after a time, or all."""

    snapshot: SnapshotId | None
    at: datetime | None

    @classmethod
    def of(cls, snapshot: str | None, at: str | None, zone: tzinfo) -> Self:
        """Convert what the options say. zone: of a time that names none.

        Raises UsageError for what can only be a slip: both options, or a malformed one.
        """
        if snapshot is not None and at is not None:
            raise UsageError(
                "restore.choice", "--snapshot and --at exclude one another", "give one"
            )
        return cls(
            None if snapshot is None else _snapshot(snapshot),
            None if at is None else _time(at, zone),
        )

    def of_carrier(self, catalog: Catalog, carrier: Carrier) -> Iterator[Snapshot]:
        """Yield those of the carrier's snapshots that may be restored, newest first."""
        for stored in reversed(catalog.snapshots(carrier)):
            if self._allows(stored.id):
                yield Snapshot(catalog, carrier, stored)

    def _allows(self, snapshot: SnapshotId) -> bool:
        if self.snapshot is not None:
            return snapshot == self.snapshot
        return self.at is None or snapshot.time <= self.at


def _snapshot(text: str) -> SnapshotId:
    snapshot = SnapshotId.parse(text)
    if snapshot is None:
        hint = "give one as tb-list --snapshots prints it"
        raise UsageError("restore.snapshot", f"{text!r} is not a snapshot", hint)
    return snapshot


def _time(text: str, zone: tzinfo) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "write 2026-11-23T03:00:00Z, or 2026-11-23 03:00 for the host's time zone"
        raise UsageError("restore.time", f"{text!r} is not a time", hint) from error
    return time if time.tzinfo else time.replace(tzinfo=zone)
