"""Revives a snapshot on a scratch server, with only the files that wanted objects need."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES, ObjectId
from three_backup.sources.jobs import RestoreJob, Say
from three_backup.sources.postgres.chain.links import database_of
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.replaying.landing import landing_before, replay_of
from three_backup.sources.postgres.replaying.recovery import Reached, Replay
from three_backup.sources.postgres.restoring.family import Family, read_family, read_files
from three_backup.sources.postgres.restoring.ground import Ground
from three_backup.sources.postgres.scratch.locales import let_into_databases
from three_backup.sources.postgres.scratch.login import let_superuser_in
from three_backup.sources.postgres.scratch.server import (
    ScratchServer,
)

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

FilesOf = Callable[["Connection", Family], set[str]]
_MOST_ATTEMPTS = 6
ANY_DATABASE = "template1"
_NUMBER = "SELECT oid::text FROM pg_database WHERE datname = current_database()"
_PREPARED = """
SELECT gid, format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
 WHERE database = current_database() ORDER BY gid
"""


@dataclass(frozen=True, slots=True)
class Revived:
    """A scratch server that runs on files of a snapshot."""

    server: ScratchServer
    files: Mapping[ObjectId, set[str]]  # the relation files of each object
    failed: Mapping[ObjectId, BackupError]  # why an object's files could not be had
    reached: Reached | None  # the moment that WAL was replayed to; None: that of the snapshot


@contextmanager
def revived(
    job: RestoreJob,
    chain: OpenedChain,
    objects: Sequence[ObjectId],
    *,
    rows: bool = True,
    files_of: FilesOf = read_files,
) -> Iterator[Revived]:
    """Run a scratch server that has the objects' rows; without rows, only their definitions.

    Without objects it has the catalogs of all databases. files_of: what rows of a family need.

    The snapshot's index tells which files most objects need. Where the revived catalogs name more
    (partitions, a table that was rewritten while the snapshot was taken), it starts again with
    those. Raises BackupError where the files are still unknown after some attempts.
    """
    ground = Ground.of(job, chain, make=rows)
    files = {object_id: set(chain.newest.objects.get(object_id, ())) for object_id in objects}
    failed: dict[ObjectId, BackupError] = {}
    then = _Databases.of(chain, objects)
    for _ in range(_MOST_ATTEMPTS):
        with ExitStack() as stack:
            relations = _relations(chain, files, failed) | then.templates if rows else set()
            replay = _replay(job)
            server = stack.enter_context(ground.server(relations, then.numbers, replay))
            exact = bool(job.options.get("exact"))
            reached = None if replay is None else replay.told(exact=exact)
            if reached is not None and reached.too_far is not None:
                landing = landing_before(job.chain[-1].manifest, reached.too_far)
                job = replace(job, landing=landing)
                continue
            if reached is not None and then.are_others(server, reached, chain):
                continue
            _let_in(server, ground.user, then.names, reached, job.say)
            if _learn(server, chain, files, failed, files_of) <= relations or not rows:
                _check_pages(server, chain, files, relations, failed)
                if not rows:
                    _relations(chain, files, failed)
                yield Revived(server, files, failed, reached)
                return
    raise BackupError(
        "postgres.files_unknown", "postgres: the files of the wanted tables cannot be determined"
    )


@dataclass(slots=True)
class _Databases:
    """The databases that are laid out, which may turn out to be others at the moment."""

    names: Sequence[str]  # at the moment
    numbers: set[str] | None  # of those whose catalogs are laid out; None: of all
    templates: set[str]  # the relations of databases that were copied since the snapshot

    @classmethod
    def of(cls, chain: OpenedChain, objects: Sequence[ObjectId]) -> "_Databases":
        names = sorted({object_id.level1 for object_id in objects}) or [ANY_DATABASE]
        return cls(names, databases_of(chain, objects), set())

    def are_others(self, server: ScratchServer, reached: Reached, chain: OpenedChain) -> bool:
        """Tell whether others have to be laid out, and take them from now on.

        Since the snapshot databases may have been made, copied and renamed.
        """
        there = self._there(server)
        if self.numbers is not None and (there is None or not there <= self.numbers):
            self.numbers = None
            return True
        copied = {str(database): template for database, template in reached.copied.items()}
        needed = [chain.relations_of(copied[number]) for number in there or () if number in copied]
        missing = set[str]().union(*needed) - self.templates
        self.templates |= missing
        return bool(missing)

    def _there(self, server: ScratchServer) -> set[str] | None:
        """Return the numbers of the databases that have the names; None if one cannot be read."""
        found = set[str]()
        try:
            for name in self.names:
                with server.connect(name) as connection:
                    found.update(number for (number,) in connection.execute(_NUMBER))
        except BackupError:
            return None
        return found


def _replay(job: RestoreJob) -> Replay | None:
    if job.landing is None or not job.landing.stop or job.store is None:
        return None

    def advance(size: int) -> None:
        job.expect(size)  # how much it will be is known at its end only
        job.advance(size)

    return replay_of(job.landing, job.chain[-1].manifest, job.store, advance)


def databases_of(chain: OpenedChain, objects: Iterable[ObjectId]) -> set[str] | None:
    """Return the numbers of the objects' databases, or None (all databases) if one is unknown."""
    names, numbers = {object_id.level1 for object_id in objects}, dict[str, set[str]]()
    for object_id, relations in chain.newest.objects.items():
        found = {number for relation in relations if (number := database_of(relation))}
        numbers.setdefault(object_id.level1, set()).update(found)
    if not names or not all(numbers.get(name) for name in names):
        return None
    return set().union(*(numbers[name] for name in names))


def _relations(
    chain: OpenedChain,
    files: Mapping[ObjectId, set[str]],
    failed: dict[ObjectId, BackupError],
) -> set[str]:
    """Return the files that can be had; an object with other files is added to failed."""
    relations: set[str] = set()
    for object_id, needed in files.items():
        try:
            chain.check(needed)
        except BackupError as error:
            failed[object_id] = error
        else:
            relations |= needed
    return relations


def _let_in(
    server: ScratchServer,
    user: str | None,
    databases: Sequence[str],
    reached: Reached | None,
    say: Say,
) -> None:
    """Make the databases usable: roll back prepared transactions, and say so.

    Undecided, they would hold their locks for ever; what they did is in no snapshot.
    """
    let_superuser_in(server, user, databases)
    let_into_databases(server, user, databases)
    when = "when the snapshot was taken" if reached is None else "at that moment"
    for database in databases:
        with suppress(BackupError), server.connect(database) as scratch:
            for name, rollback in scratch.execute(_PREPARED.encode()).fetchall():
                scratch.execute(rollback.encode(*AS_BYTES))
                say(
                    f"{database}: transaction {name} was prepared, not committed, {when}: what it "
                    "did does not come back"
                )


def _learn(
    server: ScratchServer,
    chain: OpenedChain,
    files: Mapping[ObjectId, set[str]],
    failed: Mapping[ObjectId, BackupError],
    files_of: FilesOf,
) -> set[str]:
    """Add the files that only the catalogs name, and return these."""
    learnt: set[str] = set()
    asked = sorted(files.keys() - failed.keys())
    for database, objects in groupby(asked, key=lambda object_id: object_id.level1):
        with suppress(BackupError), server.connect(database) as scratch:
            for object_id in objects:
                with suppress(BackupError):
                    family = read_family(scratch, object_id, {object_id: object_id})
                    named = files_of(scratch, family) - files[object_id]
                    unknown = set(filter(chain.has, named))
                    learnt |= unknown
                    files[object_id] |= unknown
    return learnt


def _check_pages(
    server: ScratchServer,
    chain: OpenedChain,
    files: Mapping[ObjectId, set[str]],
    relations: set[str],
    failed: dict[ObjectId, BackupError],
) -> None:
    """Fail the objects whose pages recovery found damaged; raise BackupError for the core.

    Recovery goes on after damage, since most of the tables are not there. relations: what was laid
    out beside the core.
    """
    damaged = server.invalid_pages()
    core = damaged & chain.core(databases_of(chain, files))
    if core:
        raise _missing_pages(core)
    for object_id, needed in files.items():
        missed = damaged & needed & relations
        if object_id not in failed and missed:
            failed[object_id] = _missing_pages(missed)


def _missing_pages(relations: Iterable[str]) -> BackupError:
    return BackupError(
        "postgres.pages_missing",
        f"recovery missed pages of {', '.join(sorted(relations))}",
        "restore another snapshot, and check the disk of the server (pg_amcheck)",
    )
