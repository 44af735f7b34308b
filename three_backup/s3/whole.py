"""Reads out of another store what is missing or damaged in one."""

from collections.abc import Callable
from typing import TypeVar

from three_backup.errors import BackupError
from three_backup.s3.mended import called
from three_backup.s3.store import Store

_T = TypeVar("_T")


def first_whole(
    store: Store, folder: str, read: Callable[[Store], _T], size: Callable[[_T], int]
) -> _T:
    """Return what is read of a key, out of the store or else of the first spare that has it whole.

    folder: is told of once, however many keys in it are read. read: raises BackupError where the
    key is missing or damaged. size: of what was read, in bytes. Raises what the store itself did,
    with the reasons why no spare helps.
    """
    clauses: list[str] = []
    try:
        return read(store)
    except BackupError as error:
        if not store.spares.stores:
            raise
        first = error
    for spare in store.spares.stores:
        name = spare.storage.store
        try:
            found = read(spare)
        except BackupError as error:
            clauses.append(f", and {called(name)} does not help ({error.message})")
        else:
            store.spares.mended.note(store.place(folder), first.message, name, size(found))
            return found
    raise type(first)(first.code, first.message + "".join(clauses), first.hint)
