"""Finds what the target would refuse, before anything of a snapshot is read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Wanted
from three_backup.sources.postgres.restoring.dependents import depended_on, read_dependents
from three_backup.sources.postgres.restoring.rights import (
    check_may_create_database,
    check_may_create_in,
    check_may_load,
    check_may_replace,
)
from three_backup.sources.postgres.restoring.target import (
    check_free,
    connect_target,
    database_exists,
)


@dataclass(frozen=True, slots=True)
class TargetState:
    """The state of the targets before the restore."""

    refused: dict[Wanted, BackupError] = field(default_factory=dict)  # with the reason
    replaced: set[ObjectId] = field(default_factory=set)  # objects whose target exists already
    # Pairs of these that can only be replaced together: the live second depends on the first.
    tied: set[tuple[ObjectId, ObjectId]] = field(default_factory=set)


def look(all_wanted: Iterable[Wanted], *, overwrite: bool) -> TargetState:
    """Look at the targets. Errors become refusals in the result; none is raised."""
    standing = TargetState()
    for database, group in groupby(sorted(all_wanted, key=_database), key=_database):
        grouped = list(group)
        try:
            if database_exists(database):
                _look(standing, database, grouped, overwrite=overwrite)
            else:
                check_may_create_database()
        except BackupError as error:
            standing.refused.update({wanted: about(wanted, error) for wanted in grouped})
    return standing


def _database(wanted: Wanted) -> str:
    return wanted.target.level1


def _look(
    standing: TargetState, database: str, all_wanted: Sequence[Wanted], *, overwrite: bool
) -> None:
    doomed: dict[int, Wanted] = {}
    with connect_target(database) as target:
        check_may_load(target)
        for wanted in all_wanted:
            try:
                found = check_free(target, wanted.target, overwrite=overwrite)
                check_may_create_in(target, wanted.target.level2)
                if found is not None:
                    check_may_replace(target, found.oid)
            except BackupError as error:
                standing.refused[wanted] = about(wanted, error)
            else:
                if found is not None:
                    doomed[found.oid] = wanted
        for oid, wanted in doomed.items():
            dependents = read_dependents(target, [oid])
            left = [dependent for dependent in dependents if dependent.owner not in doomed]
            if left:
                standing.refused[wanted] = depended_on(wanted.target, left)
            standing.replaced.add(wanted.object)
            standing.tied.update(
                (wanted.object, doomed[dependent.owner].object)
                for dependent in dependents
                if dependent.owner in doomed
            )


def about(wanted: Wanted, error: BackupError) -> BackupError:
    """Return the error with the target in front of its message, unless it is there already."""
    if error.message.startswith(str(wanted.target)):
        return error
    return type(error)(error.code, f"{wanted.target}: {error.message}", error.hint)
