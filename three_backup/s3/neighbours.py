"""Finds the prefixes of other hosts beside ours."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from three_backup.errors import BackupError, UnreachableError
from three_backup.s3.store import OWNER, Store

_NAMED = 100
"""At most so many are found for a sentence; each costs a request."""


def some_neighbours(store: Store) -> list[str]:
    """Return prefixes beside that of the store below which some host writes, for a sentence.

    Empty if we may not see them.
    """
    try:
        found = list(islice(neighbours(store), _NAMED))
    except BackupError:
        return []
    return [prefix for prefix, error in found if error is None]


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
