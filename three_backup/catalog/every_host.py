"""The catalogs of the other hosts that share our buckets; they are only read."""

from collections.abc import Iterable, Iterator

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, UnreachableError
from three_backup.s3.neighbours import neighbours

Neighbour = tuple[str, Catalog | BackupError]
"""The s3_prefix of another host, and what it stored, or why that cannot be read."""


def other_hosts(catalogs: Iterable[Catalog]) -> Iterator[Neighbour]:
    """Yield every other host, its snapshots listed.

    Raises BackupError where the hosts themselves cannot be listed, or the server is silent.
    """
    seen = {_place(catalog) for catalog in catalogs}
    for catalog in catalogs:
        if catalog.s3 is None:
            continue
        for prefix, error in neighbours(catalog.s3):
            found = Catalog(catalog.storage.of_another_host(prefix))
            if _place(found) not in seen:
                seen.add(_place(found))
                yield prefix, _listed(found) if error is None else error


def _place(catalog: Catalog) -> tuple[str | None, str | None, str]:
    storage = catalog.storage
    return storage.endpoint, storage.bucket, storage.prefix


def _listed(catalog: Catalog) -> Catalog | BackupError:
    try:
        catalog.list_everything()
    except UnreachableError:
        raise
    except BackupError as error:
        return error
    return catalog
