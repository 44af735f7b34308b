"""Restores tables and views from a snapshot of a cluster into the live server."""

from collections.abc import Iterator, Mapping, Sequence
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
from three_backup.sources.postgres.restoring.foreign_keys import (
    ForeignKey,
    take_off_foreign_keys,
)
from three_backup.sources.postgres.restoring.order import in_batches, in_order
from three_backup.sources.postgres.restoring.refusals import TargetState, about, look
from three_backup.sources.postgres.restoring.revive import revived
from three_backup.sources.postgres.restoring.script import Script
from three_backup.sources.postgres.restoring.sql_before import run_before
from three_backup.sources.postgres.restoring.target import (
    create_database,
    database_exists,
    drop_database,
)
from three_backup.sources.postgres.scratch.server import ScratchServer

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

DAMAGED = ("postgres.pack_damaged", "postgres.file_damaged", "snapshot.damaged")

Outcome = tuple[Wanted, Restored | BackupError]


@dataclass(frozen=True, slots=True)
class _Task:
    """A restore job with its opened chain."""

    job: RestoreJob
    chain: OpenedChain
    standing: TargetState  # the state of the targets at the beginning


def restore(job: RestoreJob) -> Iterator[Outcome]:
    """Restore the wanted objects, and yield each with its outcome: refusals, tables, then views.

    facts: rows, and the bytes_read since the previous outcome. Raises BackupError where none could
    be restored. The target is the server that libpq finds by `PG*`.
    """
    if job.sql_before is not None:
        Script(job.sql_before).check()
    standing = look(job.wanted, overwrite=job.overwrite)
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


def _revive_and_restore(task: _Task, all_wanted: Sequence[Wanted]) -> Iterator[Outcome]:
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(
                revived(task.job, task.chain, [wanted.object for wanted in all_wanted])
            )
        except BackupError as error:
            if error.code not in DAMAGED:
                raise
            yield from _one_by_one(task, all_wanted, error)
            return
        reached = scratch.reached
        revivable = []
        for wanted in all_wanted:
            if wanted.object in scratch.failed:
                yield wanted, about(wanted, scratch.failed[wanted.object])
            else:
                revivable.append(wanted)
        for database, group in groupby(sorted(revivable, key=_source), key=_source):
            for wanted, outcome in _restore_database(task, scratch.server, database, list(group)):
                if isinstance(outcome, Restored) and reached is not None:
                    facts = {**outcome.facts, "moment": reached.facts}
                    outcome = Restored(facts, (*outcome.notes, *reached.notes))
                yield wanted, outcome


def _one_by_one(
    task: _Task, all_wanted: Sequence[Wanted], error: BackupError
) -> Iterator[Outcome]:
    """Restore the objects one at a time, after damage that may be of one only."""
    if len(all_wanted) == 1:
        yield all_wanted[0], about(all_wanted[0], error)
        return
    for wanted in all_wanted:
        yield from _revive_and_restore(task, [wanted])


def _source(wanted: Wanted) -> str:
    return wanted.object.level1


def _restore_database(
    task: _Task, server: ScratchServer, database: str, all_wanted: Sequence[Wanted]
) -> Iterator[Outcome]:
    """Restore what was in one database of the source."""
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(server.connect(database))
        except BackupError as error:
            yield from ((wanted, about(wanted, error)) for wanted in all_wanted)
            return
        try:
            ran = run_before(task.job, server, scratch, all_wanted)
        except BackupError as error:
            yield from ((wanted, error) for wanted in all_wanted)
            return
        databases = stack.enter_context(_databases(scratch))
        families: list[tuple[Wanted, Family]] = []
        for wanted in all_wanted:
            try:
                families.append((wanted, _family(task, scratch, wanted, all_wanted)))
            except BackupError as error:
                yield wanted, error
        for wanted, outcome in _restore_families(
            _Crossing(task, server, scratch, databases), families
        ):
            if isinstance(outcome, Restored):
                outcome = replace(outcome, facts={**outcome.facts, **ran})
            yield wanted, outcome


@dataclass(frozen=True, slots=True)
class _Crossing:
    """The way from one database of the scratch server to the target databases."""

    task: _Task
    server: ScratchServer
    scratch: "Connection"
    databases: "_Databases"


def _restore_families(
    crossing: _Crossing, families: Sequence[tuple[Wanted, Family]]
) -> Iterator[Outcome]:
    """Restore the families in order; foreign keys that were refused are retried at the end."""
    by_root = {family.root.oid: wanted for wanted, family in families}
    late: list[tuple[Wanted, Family, BroughtBack]] = []
    with_its_root = {table.oid for _, family in families for table in family.tables[1:]}
    roots = [family for _, family in families if family.root.oid not in with_its_root]
    groups = in_order(crossing.scratch, roots, crossing.task.standing)
    batches = in_batches(crossing.scratch, groups, crossing.task.standing)
    for group, brought in _brought(crossing, list(batches), roots):
        if isinstance(brought, BackupError):
            for family in group:
                together = _together(by_root[family.root.oid], family, families)
                yield from ((affected, about(affected, brought)) for affected, _ in together)
            continue
        for family, done in zip(group, brought, strict=True):
            if done.refused:
                late.append((by_root[family.root.oid], family, done))
            else:
                yield from _outcomes(by_root[family.root.oid], family, families, done, [])
    for wanted, family, done in late:
        notes = add_foreign_keys(crossing.scratch, wanted.target.level1, done.refused)
        yield from _outcomes(wanted, family, families, done, notes)


def _brought(
    crossing: _Crossing, batches: Sequence[Sequence[list[Family]]], roots: Sequence[Family]
) -> Iterator[tuple[list[Family], list[BroughtBack] | BackupError]]:
    """Restore each batch in one transaction; the groups of one that failed, one at a time."""
    foreign_keys = take_off_foreign_keys(crossing.scratch, roots)
    for batch in batches:
        together = [family for group in batch for family in group]
        brought = _tried(crossing, together, foreign_keys)
        if isinstance(brought, BackupError) and len(batch) > 1:
            yield from ((group, _tried(crossing, group, foreign_keys)) for group in batch)
        else:
            yield together, brought


def _tried(
    crossing: _Crossing, group: Sequence[Family], foreign_keys: Mapping[int, list[ForeignKey]]
) -> list[BroughtBack] | BackupError:
    try:
        return _bring(crossing, group, foreign_keys)
    except BackupError as error:
        return error


def _bring(
    crossing: _Crossing, group: Sequence[Family], foreign_keys: Mapping[int, list[ForeignKey]]
) -> list[BroughtBack]:
    """Restore the group in one transaction; return results in its order."""
    job, database = crossing.task.job, group[0].target.level1
    created = crossing.databases.provide(database)
    brought = bring_back(
        crossing.server,
        crossing.scratch,
        group,
        foreign_keys,
        job.options,
        overwrite=job.overwrite,
    )
    crossing.databases.keep(database)
    if created:
        note = f"the database {database} was not there, now created"
        brought[0] = replace(brought[0], notes=(note, *brought[0].notes))
    return brought


def _outcomes(
    root: Wanted,
    family: Family,
    families: Sequence[tuple[Wanted, Family]],
    brought: BroughtBack,
    late_notes: Sequence[str],
) -> Iterator[Outcome]:
    """Yield the outcomes of the root, and of its partitions that were wanted as well."""
    rows = brought.rows
    for wanted, own in _together(root, family, families):
        if wanted is root:
            facts = {"rows": sum(rows.values())} if rows else {}
            yield wanted, Restored(facts, (*brought.notes, *late_notes))
        else:
            facts = {"rows": sum(rows.get(table.oid, 0) for table in own.tables)}
            yield wanted, Restored(facts, (f"it came back with {root.target}",))


def _together(
    wanted: Wanted, family: Family, families: Sequence[tuple[Wanted, Family]]
) -> Iterator[tuple[Wanted, Family]]:
    yield wanted, family
    partitions = {table.oid for table in family.tables[1:]}
    yield from ((partition, own) for partition, own in families if own.root.oid in partitions)


def _family(
    task: _Task, scratch: "Connection", wanted: Wanted, all_wanted: Sequence[Wanted]
) -> Family:
    targets = {other.object: other.target for other in all_wanted}
    return read_family(scratch, wanted.object, targets, task.job.landing)


class _Databases:
    """Target databases, created where they are missing."""

    def __init__(self, scratch: "Connection") -> None:
        self._scratch = scratch
        self._unused: set[str] = set()

    def provide(self, database: str) -> bool:
        """Create the database if it is missing; return whether it is new and holds nothing yet."""
        if not database_exists(database):
            create_database(self._scratch, database)
            self._unused.add(database)
        return database in self._unused

    def keep(self, database: str) -> None:
        self._unused.discard(database)

    def drop_unused(self) -> None:
        for database in self._unused:
            drop_database(database)


@contextmanager
def _databases(scratch: "Connection") -> Iterator[_Databases]:
    """Yield the target databases; drop again those that were created and stayed empty."""
    databases = _Databases(scratch)
    try:
        yield databases
    finally:
        databases.drop_unused()
