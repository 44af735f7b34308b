"""Where the copies lie that stand in for what is missing or damaged in the first store."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from three_backup.config import Configuration
from three_backup.errors import ConfigurationError
from three_backup.model.storage import Storage

_OF_ONE = ("--read-only", "--sign")
"""Options that ask for proof of what lies in one store."""


def asked(configuration: Configuration, store: str, storage: Storage) -> Storage:
    """Return where the store keeps copies of the storage, to be read, and tried no longer."""
    place = configuration.copies(store, storage)
    return replace(place, asked=True, timeout=min(place.timeout, storage.timeout))


def beside(
    configuration: Configuration, arguments: Mapping[str, Any], storage: Storage, *, restores: bool
) -> Iterator[Storage]:
    """Yield where runs copy what lies in the storage, for tools that restore or look at it.

    Nothing where just one store is asked for.
    """
    reads = restores or arguments.get("--stored") or arguments.get("fetch")  # that of tb-wal
    if not reads or storage.asked or storage.as_of:
        return
    if any(arguments.get(option) for option in _OF_ONE):
        return
    for store in configuration.copied_to:
        try:
            yield asked(configuration, store, storage)
        except ConfigurationError:
            continue  # tb-copy tells; a restore needs no copies
