"""The snapshots that somebody wants to hold, or to release."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from three_backup.catalog.carriers import can_hold
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.catalog.stored_ids import stored_ids
from three_backup.deciding.discovery import missing_of
from three_backup.errors import BackupError, BrokenChainError, NothingFoundError
from three_backup.model.objects import Carrier, can_match_below, matches
from three_backup.model.snapshots import SnapshotId, Stored, stamp
from three_backup.restoring.unmatched import in_catalogs
from three_backup.sources import SOURCES


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is named on the command line."""

    pattern: str  # of objects or of carriers
    snapshots: tuple[SnapshotId, ...]  # empty: the newest, or all that are held

    def selects(self, snapshot: Snapshot) -> bool:
        """Return whether the pattern selects the carrier, or anything that the snapshot holds.

        One whose manifest cannot be read holds nothing that could be restored.
        """
        carrier = snapshot.carrier
        if matches(self.pattern, carrier) or carrier.is_object:
            return matches(self.pattern, carrier)
        with suppress(BackupError):
            return any(matches(self.pattern, str(held.id)) for held in snapshot.manifest().objects)
        return False


def to_hold(catalogs: Sequence[Catalog], wanted: Wanted) -> list[Snapshot]:
    """Return the named snapshots, or the newest that can be restored of each carrier.

    Raises BackupError for a named one that no carrier has, or that cannot be restored.
    """
    found = [
        snapshot
        for catalog in catalogs
        for carrier in _carriers(catalog, wanted)
        for snapshot in _of_carrier(catalog, carrier, wanted)
    ]
    for name in wanted.snapshots:
        if all(snapshot.id != name for snapshot in found):
            raise BackupError(
                "keep.no_snapshot",
                f"{wanted.pattern}: there is no snapshot {name}",
                f"tb-list --stored --snapshots -s {wanted.pattern} names those there are",
            )
    return found


def nothing_to_hold(catalogs: Sequence[Catalog], pattern: str) -> BackupError:
    """Return the error that no snapshot can be held of what the pattern selects."""
    types = [source.type for source in SOURCES]
    if any(matches(pattern, stored) for stored in stored_ids(catalogs, types)):
        return NothingFoundError(
            "keep.nothing",
            f"{pattern}: no snapshot of it can be restored",
            f"tb-list --stored --snapshots -s {pattern} shows what they lack",
        )
    return in_catalogs(catalogs)(pattern)


def held_by(
    catalogs: Sequence[Catalog], wanted: Wanted
) -> list[tuple[Catalog, Carrier, SnapshotId]]:
    """Return the held snapshots that are wanted, whether their holds can be read or not.

    Raises BackupError if one that is named is not held, or none is that the pattern selects.
    """
    found = list(_held_by(catalogs, wanted))
    missing = [name for name in wanted.snapshots if all(name != held[2] for held in found)]
    if missing or not found:
        what = f"{missing[0]} is not held" if missing else "nothing of it is held"
        sentence = f"{wanted.pattern}: {what}"
        raise NothingFoundError("keep.not_held", sentence, "tb-keep lists what is")
    return found


def _held_by(
    catalogs: Sequence[Catalog], wanted: Wanted
) -> Iterator[tuple[Catalog, Carrier, SnapshotId]]:
    for catalog in catalogs:
        for carrier in catalog.holds.carriers():
            there = {stored.id: stored for stored in catalog.snapshots(carrier)}
            for snapshot in catalog.holds.snapshots(carrier):
                if wanted.snapshots and snapshot not in wanted.snapshots:
                    continue
                stored = there.get(snapshot, Stored(snapshot, local=False, s3=False))
                if _is_wanted(wanted, Snapshot(catalog, carrier, stored)):
                    yield catalog, carrier, snapshot


def _carriers(catalog: Catalog, wanted: Wanted) -> Iterator[Carrier]:
    for source in SOURCES:
        if can_match_below(wanted.pattern, source.type):
            for carrier in catalog.carriers(source.type):
                if can_hold(carrier, lambda name: matches(wanted.pattern, name)):
                    yield carrier


def _of_carrier(catalog: Catalog, carrier: Carrier, wanted: Wanted) -> Iterator[Snapshot]:
    snapshots = catalog.filled(carrier)
    missing = missing_of(carrier, snapshots)
    for stored in reversed(snapshots):
        snapshot = Snapshot(catalog, carrier, stored)
        if wanted.snapshots:
            if stored.id not in wanted.snapshots or not wanted.selects(snapshot):
                continue
            if stored.id in missing:
                raise BrokenChainError(
                    "keep.broken",
                    f"{carrier}: snapshot {stored.id} cannot be restored, since that of "
                    f"{stamp(missing[stored.id])} is gone on which it builds",
                    f"hold another one: tb-list --stored --snapshots -s {wanted.pattern}",
                )
            yield snapshot
        elif stored.id not in missing and wanted.selects(snapshot):
            yield snapshot
            return


def _is_wanted(wanted: Wanted, held: Snapshot) -> bool:
    """Return whether a held snapshot is wanted; one that is gone tells its carrier only."""
    if not held.stored.local and not held.stored.s3:
        return matches(wanted.pattern, held.carrier)
    return wanted.selects(held)
