"""Changes of rows that BACKUP leaves out: lightweight updates, and mutations that are under way.

A lightweight update or delete is visible at once, but lies in a patch part of its own until it is
merged, and BACKUP stores no patch parts. A mutation rewrites one part after the other, so that a
BACKUP in the middle would hold old rows and new ones. So the one is merged and the other awaited
before BACKUP, and afterwards the names of the stored parts tell whether something came in between.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from three_backup.errors import BackupError, UnreachableError
from three_backup.screen.formats import counted
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.client import Client
from three_backup.sources.clickhouse.operation import waits
from three_backup.sources.jobs import DirectJob

_PATCH = "patch-"
_HASH = len(_PATCH) + 32 + 1
"""How long the beginning of a patch's partition is; the partition that it changes follows."""

_OF = "database = {database} AND table = {table}"
_PARTS = f"FROM system.parts WHERE {_OF} AND "
_UNFINISHED = f"FROM system.mutations WHERE {_OF} AND (NOT is_done OR create_time >= {{since}})"
UNSETTLED = (
    f"(SELECT count() {_PARTS} active AND startsWith(name, '{_PATCH}')) > 0 "
    f"OR (SELECT count() FROM system.mutations WHERE {_OF} AND NOT is_done) > 0"
)
"""Whether changes of a table's rows may be missing in a BACKUP, as a format."""

# A patch that was merged meanwhile stays among the parts that are not active, some minutes long.
_CHANGES = (
    f"toJSONString(((SELECT groupArray((name, partition_id, data_version, active)) {_PARTS} "
    f"startsWith(name, '{_PATCH}')), "
    "(SELECT groupArray((command, `block_numbers.partition_id`, `block_numbers.number`, "
    f"parts_to_do, is_done, latest_fail_reason)) {_UNFINISHED}), "
    f"(SELECT groupArray(name) {_PARTS} active AND {{read}} "
    f"AND NOT startsWith(name, '{_PATCH}'))))"
)
_APPLY = "ALTER TABLE {}{} APPLY PATCHES SETTINGS mutations_sync = 0"
_NEVER = "toDateTime('2100-01-01 00:00:00')"
NOT_IN_IT = "the mutation {} was under way: nothing of it is in this snapshot"


class MixedError(BackupError):
    """A snapshot holds the rows of a change only in part, or not though later rows are in it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a table, as its name tells."""

    partition: str
    since: int  # the block of its oldest rows
    version: int  # up to which block it holds changes

    @classmethod
    def of(cls, name: str) -> Self:
        """Parse `partition_oldest_newest_level`, perhaps with `_mutation` at the end."""
        partition, oldest, _, _, *mutation = name.split("_")
        return cls(partition, int(oldest), int((mutation or [oldest])[0]))


@dataclass(frozen=True, slots=True)
class Change:
    """An update or delete that not all parts hold, perhaps."""

    text: str  # for people
    numbers: dict[str, int]  # its block, by partition; by "" for all of them
    is_patch: bool = False
    is_active: bool = True  # it is not merged, as far as the server is concerned
    to_do: int = 0  # parts that the server still rewrites for it
    done: bool = False
    failing: str = ""  # why the server does not get on with it

    def reached(self, parts: Iterable[Part]) -> tuple[bool, bool, bool]:
        """Return whether parts hold it, lack it, and whether they hold rows that came later."""
        holds = lacks = later = False
        for part in parts:
            number = self.numbers.get(part.partition, self.numbers.get("", 0))
            holds = holds or part.since < number <= part.version
            lacks = lacks or part.version < number
            later = later or 0 < number < part.since
        return holds, lacks, later


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a table that may be in its parts or not."""

    all: tuple[Change, ...]
    parts: tuple[Part, ...]  # those that the server reads

    @classmethod
    def of(cls, told: tuple[list[Any], list[Any], list[str]]) -> Self:
        patches, mutations, parts = told
        return cls(
            (*(_patch(*one) for one in patches), *(_mutation(*one) for one in mutations)),
            tuple(map(Part.of, parts)),
        )

    @property
    def pending_patches(self) -> list[Change]:
        patches = [one for one in self.all if one.is_patch and one.is_active]
        return [patch for patch in patches if patch.reached(self.parts)[1]]

    @property
    def under_way(self) -> list[Change]:
        return [one for one in self.all if not (one.is_patch or one.done)]


def settle(client: Client, job: DirectJob, of: sql.Relation, everywhere: str) -> None:
    """Merge lightweight updates, and wait for mutations, as long as the server gets on with them.

    everywhere: what on_cluster() gave. Raises BackupError where lightweight updates cannot be
    merged.
    """
    changes = read(client, of)
    pending = changes.pending_patches
    if pending:
        _apply(client, job, of, everywhere, len(pending))
        changes = read(client, of)
    to_do, since, looks = -1, time.monotonic(), waits()
    while at_work := [one for one in changes.under_way if not one.failing]:
        left = sum(one.to_do for one in at_work)
        if left != to_do:
            to_do, since = left, time.monotonic()
        elif time.monotonic() - since > job.source_settings.server_timeout.total_seconds():
            break
        job.advance(0)
        time.sleep(next(looks))
        changes = read(client, of)
    numbers = [one.numbers for one in pending]
    unmerged = [one for one in changes.pending_patches if one.numbers in numbers]
    if unmerged:
        why = next((one.failing for one in changes.under_way if one.failing), "it takes too long")
        raise _unmerged(job.carrier, len(unmerged), why, "see system.mutations of the server")


class ChangesWatch:
    """Sees which changes a table's rows undergo while it is backed up."""

    def __init__(self, about: str, of: sql.Relation, since: str) -> None:
        """since: the server's time when the BACKUP began."""
        began = f"toDateTime({sql.literal(since)})"
        self._about = about
        self.question = _CHANGES.format(**names(of), since=began, read=0)
        self._seen: dict[tuple[str, str], Change] = {}

    def hear(self, told: str) -> None:
        for change in Changes.of(json.loads(told)).all:
            self._seen[change.text, str(change.numbers)] = change

    @property
    def saw_patches(self) -> bool:
        return any(change.is_patch for change in self._seen.values())

    def left_out(self, stored: Iterable[str]) -> list[str]:
        """Return the mutations that a BACKUP of these parts holds nothing of.

        Raises MixedError where it holds some of one, or lacks a lightweight update that is older
        than other rows in it.
        """
        parts, missing = list(map(Part.of, stored)), []
        for change in self._seen.values():
            holds, lacks, later = change.reached(parts)
            if lacks and (holds or (later and change.is_patch)):
                raise MixedError(
                    "clickhouse.mixed",
                    f"{self._about}: rows changed in the middle of the backup, which would hold "
                    f"some as they were and some as they are now ({change.text})",
                    "back up when fewer updates come, or let them wait for the backup",
                )
            if lacks and not change.is_patch:
                missing.append(change.text)
        return missing


def read(client: Client, of: sql.Relation) -> Changes:
    """Return what is under way."""
    question = _CHANGES.format(**names(of), since=_NEVER, read=1)
    ((told,),) = (row.values() for row in client.ask(f"SELECT {question} AS told"))
    return Changes.of(json.loads(told))


def names(of: sql.Relation) -> dict[str, str]:
    """Return what UNSETTLED needs to know of a table."""
    return {"database": sql.literal(of.database), "table": sql.literal(of.name)}


def _patch(name: str, partition: str, number: Any, active: Any) -> Change:
    text = f"a lightweight update, {name}"
    numbers = {partition[_HASH:]: int(number)}
    return Change(text, numbers, is_patch=True, is_active=bool(int(active)))


def _mutation(
    command: str, partitions: list[str], numbers: list[Any], to_do: Any, done: Any, failing: str
) -> Change:
    by_partition = {name: int(number) for name, number in zip(partitions, numbers, strict=True)}
    return Change(command, by_partition, to_do=int(to_do), done=bool(int(done)), failing=failing)


def _apply(client: Client, job: DirectJob, of: sql.Relation, everywhere: str, count: int) -> None:
    if not job.source_settings.clickhouse_apply_patches:
        raise _unmerged(
            job.carrier,
            count,
            "clickhouse_apply_patches is off",
            f"ALTER TABLE {of} APPLY PATCHES before the backup, or set that option",
        )
    try:
        client.ask(_APPLY.format(of, everywhere))
    except UnreachableError:
        raise
    except BackupError as error:
        raise _unmerged(job.carrier, count, error.message, error.hint) from error


def _unmerged(about: str, count: int, why: str, hint: str) -> BackupError:
    return BackupError(
        "clickhouse.patches",
        f"{about}: {counted(count, 'lightweight update')} would not be in the backup, since "
        f"the server has not merged them ({why})",
        hint,
    )
