"""Compares objects: has both sides ready, and keeps what was found out about each."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from three_backup.errors import BackupError, UsageError
from three_backup.model.objects import ObjectId
from three_backup.sources.base import AbsentError
from three_backup.sources.comparing import CompareJob, Difference, changed_lines
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.comparing.buckets import Scan
from three_backup.sources.postgres.comparing.definitions import definition
from three_backup.sources.postgres.comparing.different import Different, differences
from three_backup.sources.postgres.comparing.repair import repair
from three_backup.sources.postgres.comparing.shape import Shape, read_shape
from three_backup.sources.postgres.comparing.sides import Side
from three_backup.sources.postgres.connection import translated
from three_backup.sources.postgres.restoring.family import absent
from three_backup.sources.postgres.restoring.revive import Revived, revived

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection


@contextmanager
def compare(job: CompareJob) -> Iterator["Comparison"]:
    """Run a private server for each moment of a snapshot that is compared."""
    databases = {wanted.object.level1 for wanted in job.earlier.wanted}
    if job.repairs and len(databases) > 1:
        raise UsageError(
            "diff.databases",
            f"a transaction is of one database, not of {', '.join(sorted(databases))}",
            "compare the objects of one database at a time",
        )
    with ExitStack() as stack:
        earlier = _revived(job.earlier, stack)
        later = None if job.later is None else _revived(job.later, stack)
        yield Comparison(job, earlier, later, stack)


def _revived(job: RestoreJob, stack: ExitStack) -> Revived:
    chain = OpenedChain(job.chain, job.advance, job.expect)
    found = stack.enter_context(revived(job, chain, [wanted.object for wanted in job.wanted]))
    for note in found.reached.notes if found.reached else ():
        job.say(f"{job.chain[-1].manifest.carrier}: {note}")
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """The two states of an object."""

    earlier: Sequence[str]  # the lines of its definition
    later: Sequence[str]
    rows: Different | None  # None: it has no rows that can be compared


class Comparison:
    """The objects of a job, and the sessions that compare them."""

    def __init__(
        self, job: CompareJob, earlier: Revived, later: Revived | None, stack: ExitStack
    ) -> None:
        self._job, self._stack = job, stack
        self._earlier, self._later = Side(earlier), Side(later)
        self._binaries = earlier.server.binaries
        self._sessions: dict[str, tuple[Connection, Connection]] = {}
        self._found: dict[ObjectId, _Found] = {}

    def difference(self, object_id: ObjectId) -> Difference:
        for side in (self._earlier, self._later):
            if side.revived is not None and object_id in side.revived.failed:
                raise _about(object_id, side.revived.failed[object_id])
        then, now = self._shapes(object_id)
        rows = self._rows(then, now) if then.has_rows and now.has_rows else None
        sides = (self._earlier, self._later)
        lines = [definition(side, self._binaries, object_id) for side in sides]
        found = self._found[object_id] = _Found(lines[0], lines[1], rows)
        return Difference(
            definition=found.earlier != found.later,
            counts=None if rows is None else rows.counts(),
            facts={"key": list(rows.common.key)} if rows and rows.common.key else {},
        )

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        found = self._found[object_id]
        return changed_lines(found.earlier, found.later)

    def rows(self, object_id: ObjectId) -> Iterator[bytes]:
        rows = self._found[object_id].rows
        return iter(()) if rows is None or not rows.counts().any else rows.signed()

    def repair(self, objects: Sequence[ObjectId]) -> Iterator[bytes]:
        found = (self._found[object_id].rows for object_id in objects)
        return repair([rows for rows in found if rows is not None])

    def _shapes(self, object_id: ObjectId) -> tuple[Shape, Shape]:
        then, now = (read_shape(c, object_id) for c in self._opened(object_id.level1))
        if then is None:
            raise absent(object_id, self._job.earlier.landing)
        if now is None:
            if self._job.later is not None:
                raise absent(object_id, self._job.later.landing)
            raise AbsentError(
                "postgres.not_live",
                f"{object_id}: it is not there any more",
                "tb-restore brings it back, and tb-cat shows it",
            )
        return then, now

    def _rows(self, then: Shape, now: Shape) -> Different:
        earlier, later = self._opened(then.object.level1)
        try:
            with later.transaction():
                return differences(
                    Scan(earlier, then, is_live=False),
                    Scan(later, now, is_live=self._later.is_live),
                    len(self._found),
                )
        except psycopg.Error as error:
            raise _about(then.object, translated(error)) from error
        except BackupError as error:
            raise _about(then.object, error) from error

    def _opened(self, database: str) -> tuple["Connection", "Connection"]:
        """Return sessions of both sides; the later one sees one moment of all objects."""
        if database not in self._sessions:
            self._sessions[database] = (
                self._stack.enter_context(self._earlier.session(database)),
                self._stack.enter_context(self._later.at_one_moment(database)),
            )
        return self._sessions[database]


def _about(object_id: ObjectId, error: BackupError) -> BackupError:
    return type(error)(error.code, f"{object_id}: {error.message}", error.hint)
