"""Finds the objects whose newest snapshot in S3 a drill can prove."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from three_backup.catalog.carriers import Broken, can_hold, is_object
from three_backup.catalog.catalog import Catalog, Stored
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import SnapshotId


@dataclass(frozen=True, slots=True)
class DrillCandidate:
    """An object in the newest snapshot of its carrier.

    An object that this snapshot lacks is no loss: it was dropped, or disabled.
    """

    object: ObjectId
    size: int | None
    catalog: Catalog
    carrier: str
    stored: Stored

    @property
    def place(self) -> tuple[str, SnapshotId]:
        return self.carrier, self.stored.id


def candidates(
    catalogs: Sequence[Catalog], types: Iterable[str], wanted: Callable[[str], bool]
) -> Iterator[DrillCandidate | Broken]:
    """Yield the wanted objects, or the carrier and the error where a manifest cannot be read.

    wanted: by id. A carrier that is an object itself costs no request before its drill.
    """
    for source_type in types:
        for catalog in catalogs:
            for carrier in catalog.carriers(source_type):
                if can_hold(carrier, wanted):
                    yield from _of_carrier(catalog, carrier, wanted)


def _of_carrier(
    catalog: Catalog, carrier: str, wanted: Callable[[str], bool]
) -> Iterator[DrillCandidate | Broken]:
    newest = catalog.snapshots(carrier)[-1]
    if is_object(carrier):
        yield DrillCandidate(ObjectId.parse(carrier), None, catalog, carrier, newest)
        return
    try:
        manifest = catalog.manifest(carrier, newest)
    except BackupError as error:
        yield carrier, error
        return
    for carried in manifest.objects:
        if wanted(str(carried.id)):
            yield DrillCandidate(carried.id, carried.size, catalog, carrier, newest)
