"""Plans a restore: revives a snapshot's definitions on a scratch server, changes no target."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from three_backup.errors import BackupError
from three_backup.sources.base import Planned
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.restoring.bring_back import Prepared, prepare
from three_backup.sources.postgres.restoring.dependents import Dependent, read_dependents
from three_backup.sources.postgres.restoring.family import Family, read_family
from three_backup.sources.postgres.restoring.needs import Need, read_needs, refuse_to_invent
from three_backup.sources.postgres.restoring.refusals import about, look
from three_backup.sources.postgres.restoring.revive import Revived, databases_of, revived
from three_backup.sources.postgres.restoring.script import Script
from three_backup.sources.postgres.restoring.target import (
    Existing,
    check_free,
    connect_target,
    database_exists,
    schemas,
)

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

Outcome = tuple[Wanted, Planned | BackupError]


def plan(job: RestoreJob) -> Iterator[Outcome]:
    """Yield what restore() would do for each wanted object, or why it would refuse.

    Bytes that are read for all of them together count with the first, as in restore().
    """
    if job.sql_before is not None:
        Script(job.sql_before).check()
    refused = look(job.wanted, overwrite=job.overwrite).refused
    yield from refused.items()
    free = [wanted for wanted in job.wanted if wanted not in refused]
    if not free:
        return
    chain = OpenedChain(job.chain, job.advance, job.expect)
    with revived(job, chain, [item.object for item in free], rows=False) as scratch:
        reads = _reads(chain, scratch)
        for wanted, outcome in _plans(job, scratch, free):
            if isinstance(outcome, Planned):
                told = {"bytes_read": reads.total(), "read_from": dict(reads)}
                outcome = Planned({**told, **outcome.facts}, outcome.notes)
                if scratch.reached is not None:
                    facts = {**outcome.facts, "moment": scratch.reached.facts}
                    outcome = Planned(facts, (*outcome.notes, *scratch.reached.notes))
                reads = Counter()
            yield wanted, outcome


def _reads(chain: OpenedChain, scratch: Revived) -> Counter[str]:
    had = {
        object_id: files
        for object_id, files in scratch.files.items()
        if object_id not in scratch.failed
    }
    relations = set().union(*had.values())
    return chain.reads(relations, databases_of(chain, scratch.files))


def _plans(job: RestoreJob, scratch: Revived, all_wanted: Sequence[Wanted]) -> Iterator[Outcome]:
    for database, group in groupby(sorted(all_wanted, key=_source), key=_source):
        grouped = list(group)
        with scratch.server.connect(database) as connection:
            targets = {wanted.object: wanted.target for wanted in grouped}
            families: dict[Wanted, Family] = {}
            for wanted in grouped:
                try:
                    if wanted.object in scratch.failed:
                        raise scratch.failed[wanted.object]
                    landing = job.landing
                    families[wanted] = read_family(connection, wanted.object, targets, landing)
                except BackupError as error:
                    yield wanted, about(wanted, error)
            there = {table.oid for family in families.values() for table in family.tables}
            for wanted, family in families.items():
                yield wanted, _plan(connection, family, job, there)


def _source(wanted: Wanted) -> str:
    return wanted.object.level1


def _plan(
    scratch: "Connection", family: Family, job: RestoreJob, there: set[int]
) -> Planned | BackupError:
    """Plan one family. there: oids of the tables that are restored too, so nothing lacks them."""
    database = family.target.level1
    try:
        if not database_exists(database):
            needs = read_needs(scratch, [family])
            prepared = Prepared(family, needs, needs)
            creates = [f"database {database}", *_schemas(family)]
            return _planned(prepared, there, creates, None, [])
        with connect_target(database) as target:
            doomed = check_free(target, family.target, overwrite=job.overwrite)
            prepared = prepare(scratch, target, family, doomed)
            creates = _schemas(family, without=schemas(target))
            dependents = [] if doomed is None else read_dependents(target, [doomed.oid])
            return _planned(prepared, there, creates, doomed, dependents)
    except BackupError as error:
        return error


def _planned(
    prepared: Prepared,
    there: set[int],
    creates: Sequence[str],
    doomed: Existing | None,
    dependents: Sequence[Dependent],
) -> Planned:
    lacking = [need for need in prepared.lacking if not _comes_too(need, there)]
    family = prepared.family
    refuse_to_invent(str(family.target), lacking)
    made = [*creates, *(str(need) for need in lacking if str(need) not in creates)]
    facts: dict[str, Any] = {
        "names": [f"{part.target.schema}.{part.target.name}" for part in family.members],
        "creates": made,
        "replaces": doomed is not None,
        "depends_on": [str(need) for need in prepared.needs],
        "dependents": list(map(str, dependents)),
    }
    return Planned(facts)


def _comes_too(need: Need, there: set[int]) -> bool:
    return need.kind != "" and need.oid in there


def _schemas(family: Family, without: Collection[str] = ("public",)) -> list[str]:
    names = {part.target.schema for part in family.members}
    return [f"schema {name}" for name in sorted(names.difference(without))]
