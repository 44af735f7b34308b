"""Restore tables and views out of a snapshot of a cluster into the live server."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.base import Restored
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.restoring.bring_back import (
    BroughtBack,
    add_foreign_keys,
    bring_back,
)
from three_backup.sources.postgres.restoring.family import Family, read_family
from three_backup.sources.postgres.restoring.order import in_order
from three_backup.sources.postgres.restoring.refusals import Standing, about, look
from three_backup.sources.postgres.restoring.revive import revived
from three_backup.sources.postgres.restoring.target import (
    create_database,
    database_exists,
    drop_database,
)
from three_backup.sources.postgres.scratch.server import ScratchServer

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

DAMAGED = ("postgres.pack_damaged", "postgres.file_damaged")

Outcome = tuple[Wanted, Restored | BackupError]


@dataclass(frozen=True, slots=True)
class _Task:
    """standing: how the targets stood at the beginning."""

    job: RestoreJob
    chain: OpenedChain
    standing: Standing


def restore(job: RestoreJob) -> Iterator[Outcome]:
    """Each wanted object with its outcome: who is refused at once, tables, then views.

    facts: rows, and the bytes_read since the outcome before. Raises BackupError where none could
    be restored. The target is the server that libpq finds by `PG*`.
    """
    standing = look(job.wanted, job.overwrite)
    yield from standing.refused.items()
    free = [wanted for wanted in job.wanted if wanted not in standing.refused]
    if free:
        chain = OpenedChain(job.chain, job.advance, job.expect)
        reported = 0
        for wanted, outcome in _revive_and_restore(_Task(job, chain, standing), free):
            if isinstance(outcome, Restored):
                facts = {**outcome.facts, "bytes_read": chain.bytes_read - reported}
                reported = chain.bytes_read
                outcome = replace(outcome, facts=facts)
            yield wanted, outcome


def _revive_and_restore(task: _Task, wanted: Sequence[Wanted]) -> Iterator[Outcome]:
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(
                revived(task.job, task.chain, [one.object for one in wanted])
            )
        except BackupError as error:
            if error.code not in DAMAGED:
                raise
            yield from _one_by_one(task, wanted, error)
            return
        revivable = []
        for one in wanted:
            if one.object in scratch.failed:
                yield one, about(one, scratch.failed[one.object])
            else:
                revivable.append(one)
        for database, group in groupby(sorted(revivable, key=_source), key=_source):
            yield from _restore_database(task, scratch.server, database, list(group))


def _one_by_one(task: _Task, wanted: Sequence[Wanted], error: BackupError) -> Iterator[Outcome]:
    """After damage that may be that of one object only."""
    if len(wanted) == 1:
        yield wanted[0], about(wanted[0], error)
        return
    for one in wanted:
        yield from _revive_and_restore(task, [one])


def _source(wanted: Wanted) -> str:
    return wanted.object.level1


def _restore_database(
    task: _Task, server: ScratchServer, database: str, wanted: Sequence[Wanted]
) -> Iterator[Outcome]:
    """Restore what was in one database of the source."""
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(server.connect(database))
        except BackupError as error:
            yield from ((one, about(one, error)) for one in wanted)
            return
        databases = stack.enter_context(_databases(scratch, database))
        families: list[tuple[Wanted, Family]] = []
        for one in wanted:
            try:
                families.append((one, _family(scratch, one, wanted)))
            except BackupError as error:
                yield one, error
        yield from _restore_families(_Crossing(task, server, scratch, databases), families)


@dataclass(frozen=True, slots=True)
class _Crossing:
    """From one database of the scratch server to wherever the job wants its objects."""

    task: _Task
    server: ScratchServer
    scratch: "Connection"
    databases: "_Databases"


def _restore_families(
    crossing: _Crossing, families: Sequence[tuple[Wanted, Family]]
) -> Iterator[Outcome]:
    """Foreign keys that were refused get a second chance at the end."""
    wanted = {family.root.oid: one for one, family in families}
    late: list[tuple[Wanted, Family, BroughtBack]] = []
    with_its_root = {table.oid for _, family in families for table in family.tables[1:]}
    roots = [family for _, family in families if family.root.oid not in with_its_root]
    for company in in_order(crossing.scratch, roots, crossing.task.standing):
        try:
            brought = _bring(crossing, company)
        except BackupError as error:
            for family in company:
                together = _together(wanted[family.root.oid], family, families)
                yield from ((who, about(who, error)) for who, _ in together)
            continue
        for family, done in zip(company, brought, strict=True):
            if done.refused:
                late.append((wanted[family.root.oid], family, done))
            else:
                yield from _outcomes(wanted[family.root.oid], family, families, done, [])
    for one, family, done in late:
        notes = add_foreign_keys(crossing.scratch, one.target.level1, done.refused)
        yield from _outcomes(one, family, families, done, notes)


def _bring(crossing: _Crossing, company: Sequence[Family]) -> list[BroughtBack]:
    """In the order of the company."""
    job, database = crossing.task.job, company[0].target.level1
    created = crossing.databases.provide(database)
    brought = bring_back(crossing.server, crossing.scratch, company, job.overwrite, job.options)
    crossing.databases.keep(database)
    if created:
        note = f"the database {database} was not there, now created"
        brought[0] = replace(brought[0], notes=(note, *brought[0].notes))
    return brought


def _outcomes(
    wanted: Wanted,
    family: Family,
    families: Sequence[tuple[Wanted, Family]],
    brought: BroughtBack,
    late_notes: Sequence[str],
) -> Iterator[Outcome]:
    """Of the wanted root, and of its partitions that were wanted as well and came with it."""
    rows = brought.rows
    for one, own in _together(wanted, family, families):
        if one is wanted:
            facts = {"rows": sum(rows.values())} if rows else {}
            yield one, Restored(facts, (*brought.notes, *late_notes))
        else:
            facts = {"rows": sum(rows.get(table.oid, 0) for table in own.tables)}
            yield one, Restored(facts, (f"it came back with {wanted.target}",))


def _together(
    wanted: Wanted, family: Family, families: Sequence[tuple[Wanted, Family]]
) -> Iterator[tuple[Wanted, Family]]:
    yield wanted, family
    partitions = {table.oid for table in family.tables[1:]}
    yield from ((one, own) for one, own in families if own.root.oid in partitions)


def _family(scratch: "Connection", one: Wanted, wanted: Sequence[Wanted]) -> Family:
    return read_family(scratch, one.object, {other.object: other.target for other in wanted})


class _Databases:
    """Target databases, created where they are missing."""

    def __init__(self, scratch: "Connection", source: str) -> None:
        self._scratch = scratch
        self._source = source
        self._unused: set[str] = set()

    def provide(self, database: str) -> bool:
        """Whether it had to be created."""
        if database_exists(database):
            return False
        create_database(self._scratch, self._source, database)
        self._unused.add(database)
        return True

    def keep(self, database: str) -> None:
        self._unused.discard(database)

    def drop_unused(self) -> None:
        for database in self._unused:
            drop_database(database)


@contextmanager
def _databases(scratch: "Connection", source: str) -> Iterator[_Databases]:
    """What was created and stayed empty is dropped again."""
    databases = _Databases(scratch, source)
    try:
        yield databases
    finally:
        databases.drop_unused()
