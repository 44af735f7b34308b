"""The history of an object: which snapshots hold it, and how its size and definition changed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.sources import source_of
from three_backup.sources.lacking import DISABLED, why_lacking

Fail = Callable[[Carrier, BackupError], None]
"""Takes the carrier of a snapshot whose manifest cannot be read, and why."""


class Absence(StrEnum):
    """Why a snapshot does not hold an object; the values are those of records."""

    GONE = "gone"  # it was dropped or renamed by then, or not yet made
    DISABLED = "disabled"
    UNREAD = "unread"  # it was there, but could not be backed up


@dataclass(frozen=True, slots=True)
class Moment:
    """An object as one snapshot holds it, or that it does not."""

    snapshot: SnapshotId
    size: int = 0  # bytes at the source
    absent: Absence | None = None  # None: the snapshot holds it
    # The parts of its definition that differ from those in the last snapshot that held it.
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """The snapshots of a carrier since the first that holds the object, oldest first."""

    object: ObjectId
    carrier: Carrier
    moments: Sequence[Moment]  # the first one holds it

    @property
    def held(self) -> Sequence[Moment]:
        """The snapshots that hold it."""
        return [moment for moment in self.moments if moment.absent is None]


@dataclass(frozen=True, slots=True)
class _Definition:
    """All that a manifest holds of how an object is defined."""

    facts: Mapping[str, Any]  # of its record: kind, engine
    parts: Mapping[str, Any]  # see Source.definition: the values may be secrets


def history(catalog: Catalog, carrier: Carrier, object_id: ObjectId, fail: Fail) -> History | None:
    """Return the history of an object by the manifests of a carrier; None if none holds it.

    fail: is told of manifests that cannot be read; such snapshots are left out.
    """
    moments: list[Moment] = []
    before: _Definition | None = None
    for manifest in _readable(catalog, carrier, fail):
        carried = next((held for held in manifest.objects if held.id == object_id), None)
        if carried is None:
            if moments:
                moments.append(Moment(manifest.snapshot, absent=_absence(manifest, object_id)))
            continue
        now = _definition(manifest, carried)
        changed = () if before is None else tuple(_changes(before, now))
        moments.append(Moment(manifest.snapshot, carried.size, changed=changed))
        before = now
    return History(object_id, carrier, moments) if moments else None


def _readable(catalog: Catalog, carrier: Carrier, fail: Fail) -> Iterator[Manifest]:
    for stored in catalog.snapshots(carrier):
        try:
            manifest = catalog.manifest(carrier, stored)
        except UnreachableError:
            raise
        except BackupError as error:
            fail(carrier, error)
        else:
            yield manifest


def _absence(manifest: Manifest, object_id: ObjectId) -> Absence:
    if str(object_id) in manifest.facts.get(DISABLED, ()):
        return Absence.DISABLED
    return Absence.UNREAD if why_lacking(manifest, object_id) else Absence.GONE


def _definition(manifest: Manifest, carried: CarriedObject) -> _Definition:
    alone = manifest.carrier.is_object
    parts = source_of(carried.id.type).definition(manifest) if alone else {}
    return _Definition(carried.facts, parts)


def _changes(before: _Definition, now: _Definition) -> Iterator[str]:
    for name, (old, new) in _differences(before.facts, now.facts):
        yield f"{name} {old or 'none'} \u2192 {new or 'none'}"
    for name, (old, new) in _differences(before.parts, now.parts):
        yield f"{name} added" if old is None else f"{name} removed" if new is None else name


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in sorted({*before, *now}):
        pair = before.get(name), now.get(name)
        if pair[0] != pair[1]:
            yield name, pair
