"""Comparing an object at two moments: the words in which a tool asks a source, and the answers."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import RestoreJob, Say


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows, or paths, the later moment differs in."""

    added: int = 0
    removed: int = 0
    changed: int | None = None  # None: nothing tells which of them belong together

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Difference:
    """The way in which an object differs at the later moment."""

    definition: bool  # whether what makes the object differs
    counts: Counts | None  # None: its content cannot be compared, only what makes it
    facts: Mapping[str, Any] = field(default_factory=dict)  # further fields, for records

    @property
    def equal(self) -> bool:
        return not self.definition and not (self.counts and self.counts.any)


def changed_lines(earlier: Sequence[str], later: Sequence[str]) -> Iterator[bytes]:
    """Yield a unified diff without its head."""
    for line in list(difflib.unified_diff(earlier, later, lineterm=""))[2:]:
        yield line.encode("utf-8", "surrogateescape") + b"\n"


class Comparing(Protocol):
    """Objects that are there at two moments, or at one of them and now."""

    def difference(self, object_id: ObjectId) -> Difference:
        """Compare an object. Raises BackupError, AbsentError where only one moment has it."""

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        """Yield how what makes a compared object differs, as a unified diff without its head."""

    def rows(self, object_id: ObjectId) -> Iterator[bytes]:
        """Yield the rows, or paths, in which a compared object differs, in order of their keys.

        `-` begins those of the earlier moment, `+` those of the later one; a blank the line that
        names the columns.
        """

    def repair(self, objects: Sequence[ObjectId]) -> Iterator[bytes]:
        """Yield statements that turn the later state of compared objects into the earlier one."""


@dataclass(frozen=True, slots=True)
class CompareJob:
    """Objects of one carrier to compare."""

    earlier: RestoreJob
    later: RestoreJob | None  # None: with the live server
    say: Say
    repairs: bool = False  # repair() will be asked for
