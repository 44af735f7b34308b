"""The snapshots that may be restored, by --snapshot and --at, and what to restore instead."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Self

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.elsewhere import has_a_copy, store_with
from three_backup.catalog.files import Files
from three_backup.catalog.snapshot import Snapshot
from three_backup.deciding.discovery import missing_of
from three_backup.errors import BackupError, BrokenChainError, NothingFoundError, UsageError
from three_backup.model.local_time import local, parsed
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import SnapshotId, rfc3339

_OPTION = "tb-restore --snapshot"


@dataclass(frozen=True, slots=True)
class Choice:
    """The snapshots that may be restored: one, or those not after a time, or all."""

    snapshot: SnapshotId | None = None
    at: datetime | None = None  # in the time zone in which it is spoken of

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

    def chain(self, snapshot: Snapshot, objects: Collection[ObjectId] = ()) -> list[Files]:
        """Return the chain of an allowed snapshot.

        Raises BrokenChainError, which names the newest snapshot with a whole chain that can be
        restored instead; with objects, one that holds some of them.
        """
        try:
            return snapshot.chain()
        except BrokenChainError as error:
            if snapshot.catalog.partial:
                raise
            store = store_with(snapshot.catalog.beside, snapshot.carrier, snapshot.id)
            hint = has_a_copy(store) if store else self._instead(snapshot, objects)
            raise BrokenChainError(error.code, error.message, hint) from error

    def too_early(self, what: str, oldest: Iterable[Snapshot]) -> NothingFoundError | None:
        """Return the error that no snapshot is as old as --at.

        oldest: the first whole one that holds what is wanted, of each carrier.
        """
        first = min(oldest, key=lambda snapshot: snapshot.id.time, default=None)
        if self.at is None or first is None or first.id.time <= self.at:
            return None
        zone = self.at.tzinfo or UTC
        return NothingFoundError(
            "restore.too_early",
            f"{what}: no snapshot is as old as {local(self.at, zone)}; the oldest that can be "
            f"restored is {first.id}, of {local(first.id.time, zone)}",
            f"give that time or a later one: --at {rfc3339(first.id.time)}",
        )

    def _instead(self, broken: Snapshot, objects: Collection[ObjectId]) -> str:
        """Return what to restore instead of a snapshot whose chain is broken."""
        whole = list(whole_snapshots(broken.catalog, broken.carrier))
        until = [other for other in whole if self.at is None or other.id.time <= self.at]
        then = "" if self.at is None else " of that time"
        for other in filter(partial(_holds, objects), reversed(until)):
            return f"the newest{then} that can be is {other.id}: {_OPTION} {other.id}"
        for other in filter(partial(_holds, objects), whole[len(until) :]):
            return f"none{then} can be, the next is {other.id}: {_OPTION} {other.id}"
        return "no other can be either; the next run takes a new base"

    def _allows(self, snapshot: SnapshotId) -> bool:
        if self.snapshot is not None:
            return snapshot == self.snapshot
        return self.at is None or snapshot.time <= self.at


def whole_snapshots(catalog: Catalog, carrier: Carrier) -> Iterator[Snapshot]:
    """Yield the carrier's snapshots that can be restored, oldest first."""
    snapshots = catalog.snapshots(carrier)
    missing = missing_of(carrier, snapshots)
    for stored in snapshots:
        if stored.id not in missing:
            yield Snapshot(catalog, carrier, stored)


def _holds(objects: Collection[ObjectId], snapshot: Snapshot) -> bool:
    """Return whether it can be read and, if objects are named, holds any of them."""
    try:
        held = {carried.id for carried in snapshot.manifest().objects}
    except BackupError:
        return False
    return not objects or not held.isdisjoint(objects)


def _snapshot(text: str) -> SnapshotId:
    snapshot = SnapshotId.parse(text)
    if snapshot is None:
        hint = "give one as tb-list --snapshots prints it"
        raise UsageError("restore.snapshot", f"{text!r} is not a snapshot", hint)
    return snapshot


def _time(text: str, zone: tzinfo) -> datetime:
    try:
        return parsed(text, zone)
    except ValueError as error:
        hint = "write 2026-11-23T03:00:00Z, or 2026-11-23 03:00 for the host's time zone"
        raise UsageError("restore.time", f"{text!r} is not a time", hint) from error
