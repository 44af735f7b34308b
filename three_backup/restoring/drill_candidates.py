"""Finds the objects whose newest snapshot in S3 a drill can prove."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from three_backup.catalog.carriers import can_hold, record_of, record_within
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record


def candidates(
    catalogs: Sequence[Catalog], types: Iterable[str], wanted: Callable[[str], bool]
) -> Iterator[tuple[Record, Snapshot | BackupError]]:
    """Yield a record of each wanted object, and its carrier's newest snapshot, which holds it.

    An object that this snapshot lacks is no loss: it was dropped, or disabled. A manifest that
    cannot be read yields a record of its carrier, with the error. wanted: by id. A carrier that is
    an object itself costs no request before its drill; its record has no size.
    """
    for source_type in types:
        for catalog in catalogs:
            for carrier in catalog.carriers(source_type):
                if can_hold(carrier, wanted):
                    newest = Snapshot(catalog, carrier, catalog.snapshots(carrier)[-1])
                    yield from _held(newest, wanted)


def _held(
    newest: Snapshot, wanted: Callable[[str], bool]
) -> Iterator[tuple[Record, Snapshot | BackupError]]:
    carrier = newest.carrier
    if carrier.is_object:
        yield record_within(carrier, ObjectId.parse(carrier)), newest
        return
    try:
        manifest = newest.manifest()
    except BackupError as error:
        yield record_of(carrier), error
        return
    for carried in manifest.objects:
        if wanted(str(carried.id)):
            yield record_within(carrier, carried.id, size=carried.size), newest
