"""What the target shows to be in the way, before anything of a snapshot is read."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from three_backup.errors import BackupError
from three_backup.sources.jobs import Wanted
from three_backup.sources.postgres.restoring.dependents import depended_on, read_dependents
from three_backup.sources.postgres.restoring.target import (
    Existing,
    check_free,
    connect_target,
    database_exists,
)


def refusals(all_wanted: Iterable[Wanted], overwrite: bool) -> dict[Wanted, BackupError]:
    """What cannot be restored, and why."""
    refused: dict[Wanted, BackupError] = {}
    for database, group in groupby(sorted(all_wanted, key=_database), key=_database):
        wanted = list(group)
        try:
            if database_exists(database):
                refused |= _refusals(database, wanted, overwrite)
        except BackupError as error:
            refused |= dict.fromkeys(wanted, error)
    return refused


def _database(wanted: Wanted) -> str:
    return wanted.target.level1


def _refusals(
    database: str, all_wanted: Sequence[Wanted], overwrite: bool
) -> dict[Wanted, BackupError]:
    refused: dict[Wanted, BackupError] = {}
    doomed: dict[Wanted, Existing] = {}
    with connect_target(database) as target:
        for wanted in all_wanted:
            try:
                found = check_free(target, wanted.target, overwrite)
            except BackupError as error:
                refused[wanted] = error
            else:
                if found is not None:
                    doomed[wanted] = found
        goes = {found.oid for found in doomed.values()}
        for wanted, found in doomed.items():
            left = [one for one in read_dependents(target, [found.oid]) if one.owner not in goes]
            if left:
                refused[wanted] = depended_on(wanted.target, left)
    return refused


def about(wanted: Wanted, error: BackupError) -> BackupError:
    """The error with the object it is about in front."""
    if error.message.startswith(str(wanted.target)):
        return error
    return type(error)(error.code, f"{wanted.target}: {error.message}", error.hint)
