"""Finds the prefixes of other hosts beside ours."""

from collections.abc import Iterator
from dataclasses import replace

from three_backup.errors import BackupError, UnreachableError
from three_backup.s3.store import OWNER, Store


def neighbours(store: Store) -> Iterator[tuple[str, BackupError | None]]:
    """Yield each prefix beside that of the store below which some host writes.

    An error says why nobody can tell whether one does. Costs a request for each prefix. Raises
    BackupError where the prefixes cannot be listed.
    """
    own = store.storage.prefix
    above = own.rpartition("/")[0]
    beside = Store(replace(store.storage, prefix=above, foreign=True))
    for name in beside.folders(""):
        prefix = f"{above}/{name}" if above else name
        if prefix == own:
            continue
        try:
            if beside.size(f"{name}/{OWNER}") is not None:
                yield prefix, None
        except UnreachableError:
            raise
        except BackupError as error:
            yield prefix, error
