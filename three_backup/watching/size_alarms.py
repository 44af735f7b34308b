"""Alarms on objects that grew or shrank at the source by more than their size_alarm."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from three_backup.catalog.catalog import Catalog
from three_backup.config.settings import Settings
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, Stored, chain
from three_backup.screen.formats import size

_SMALL = 1_000_000
"""Bytes below which a size says nothing: an empty table may get its first rows."""


def alarms(
    carrier: Carrier,
    snapshots: Sequence[Stored],
    settings: Callable[[ObjectId], Settings],
    catalog: Catalog,
) -> Iterator[str]:
    """Yield a sentence on each such change in the newest chain, or just before it."""
    for before, after in pairwise(_looked_through(carrier, snapshots, catalog)):
        sizes = {earlier.id: earlier.size for earlier in before.objects}
        for carried in after.objects:
            factor = settings(carried.id).size_alarm
            was = sizes.get(carried.id)
            if was is not None and factor and _is_alarming(was, carried.size, factor):
                yield (
                    f"{carried.id} had {size(was)} in {before.snapshot} and has "
                    f"{size(carried.size)} in {after.snapshot}"
                )


def _looked_through(
    carrier: Carrier, snapshots: Sequence[Stored], catalog: Catalog
) -> list[Manifest]:
    links = chain((stored.id for stored in snapshots), snapshots[-1].id) or [snapshots[-1].id]
    first = next(number for number, stored in enumerate(snapshots) if stored.id == links[0])
    return [catalog.manifest(carrier, stored) for stored in snapshots[max(0, first - 1) :]]


def _is_alarming(was: int, now: int, factor: float) -> bool:
    smaller, larger = sorted((was, now))
    return larger >= _SMALL and larger > factor * smaller
