"""Finds objects by a bare name in all snapshots."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, UnreachableError
from three_backup.listing.history import Fail
from three_backup.listing.presence import is_live
from three_backup.model.objects import Carrier, ObjectId, matches, selected
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.lacking import DISABLED, why_lacking
from three_backup.watching.last_run import LastRun


@dataclass(frozen=True, slots=True)
class Found:
    """An object that snapshots of a carrier hold."""

    object: ObjectId
    carrier: Carrier
    prefix: str | None  # of another host; None: this host's
    first: SnapshotId
    last: SnapshotId
    count: int  # of the snapshots that hold it
    live: bool | None  # see presence


@dataclass(frozen=True, slots=True)
class Search:
    """A name to find, of all that patterns select."""

    name: str
    patterns: Sequence[str]
    last: LastRun | None

    def fits(self, object_id: str) -> bool:
        """Return whether the id ends in the name, which may be a glob; case does not matter.

        SQL joins names by dots: `public.orders` fits what ends in `public/orders`, too.
        """
        levels = object_id.casefold().split("/")
        for name in (self.name.casefold(), self.name.casefold().replace(".", "/")):
            parts = name.strip("/").split("/")
            ends = zip(parts, levels[-len(parts) :], strict=False)
            if len(parts) <= len(levels) and all(_is(part, level) for part, level in ends):
                return selected(self.patterns, object_id)
        return False

    def among(self, catalog: Catalog, types: Iterable[str], fail: Fail) -> Iterator[Found]:
        """Yield what fits. fail: is told of manifests that cannot be read."""
        for source_type in types:
            for carrier in catalog.carriers(source_type):
                if not carrier.is_object:
                    yield from self._shared(catalog, carrier, fail)
                elif self.fits(carrier):
                    yield self._alone(catalog, carrier)

    def _alone(self, catalog: Catalog, carrier: Carrier) -> Found:
        """Return an object with snapshots of its own; their names tell all."""
        snapshots = [stored.id for stored in catalog.snapshots(carrier)]
        last = None if catalog.storage.foreign else self.last
        live = is_live(carrier, last, in_newest=None)
        return _found(catalog, carrier, ObjectId.parse(carrier), snapshots, live=live)

    def _shared(self, catalog: Catalog, carrier: Carrier, fail: Fail) -> Iterator[Found]:
        @cache  # the same thousands of objects are in every snapshot
        def fits(object_id: ObjectId) -> bool:
            return self.fits(str(object_id))

        holders: dict[ObjectId, list[SnapshotId]] = {}
        newest: Manifest | None = None
        for stored in catalog.snapshots(carrier):
            try:
                newest = catalog.manifest(carrier, stored)
            except UnreachableError:
                raise
            except BackupError as error:
                fail(carrier, error)
                continue
            for carried in newest.objects:
                if fits(carried.id):
                    holders.setdefault(carried.id, []).append(newest.snapshot)
        for object_id, snapshots in sorted(holders.items()):
            live = None if newest is None else _is_in(newest, object_id, snapshots)
            yield _found(catalog, carrier, object_id, snapshots, live=live)


def _is(part: str, level: str) -> bool:
    return part == level or matches(part, level)


def _is_in(newest: Manifest, object_id: ObjectId, holders: Sequence[SnapshotId]) -> bool | None:
    if holders[-1] == newest.snapshot:
        return True
    left_out = str(object_id) in newest.facts.get(DISABLED, ()) or why_lacking(newest, object_id)
    return None if left_out else False


def _found(
    catalog: Catalog,
    carrier: Carrier,
    object_id: ObjectId,
    snapshots: Sequence[SnapshotId],
    *,
    live: bool | None,
) -> Found:
    prefix = catalog.storage.prefix if catalog.storage.foreign else None
    return Found(object_id, carrier, prefix, snapshots[0], snapshots[-1], len(snapshots), live)
