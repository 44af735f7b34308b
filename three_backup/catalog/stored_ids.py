"""The ids of all that is stored, for suggestions."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from three_backup.catalog.catalog import Catalog
from three_backup.errors import ManifestError


def stored_ids(catalogs: Iterable[Catalog], types: Iterable[str]) -> list[str]:
    """Return the id of every object that a readable snapshot holds, sorted.

    Reads the manifests of shared snapshots only: any other carrier is an object itself.
    """
    sources = list(types)
    return sorted({found for catalog in catalogs for found in _of(catalog, sources)})


def _of(catalog: Catalog, types: Iterable[str]) -> Iterator[str]:
    for source_type in types:
        for carrier in catalog.carriers(source_type):
            if carrier.is_object:
                yield carrier
                continue
            for stored in catalog.snapshots(carrier):
                with suppress(ManifestError):  # whoever lists the snapshots tells of it
                    manifest = catalog.manifest(carrier, stored)
                    yield from (str(carried.id) for carried in manifest.objects)
