"""The questions to the program and the first line of its answers, as values and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Self

from three_backup.errors import BackupError

OVERFLOW = 65534
"""The owner, as the kernel has it, of what belongs to nobody whom a container knows."""


class What(StrEnum):
    """What of a path is wanted."""

    LIST = "list"  # a line of JSON for it and for each name below it
    READ = "read"  # the bytes of a file, or a tar of a folder
    COMPARE = "compare"  # a line for each name that another tree does not have like this one
    HOLD = "hold"  # nothing yet: it stays mounted until nobody reads the answer any more


@dataclass(frozen=True, slots=True)
class Range:
    """Owners that have other numbers on disk than within a container."""

    users: bool
    groups: bool
    disk: int  # the first number on disk
    inside: int  # the first number within
    count: int


@dataclass(frozen=True, slots=True)
class Owners:
    """What owners on disk are called within. No range: the same."""

    ranges: Sequence[Range] = ()

    def user(self, number: int) -> int:
        return self._inside(number, [each for each in self.ranges if each.users])

    def group(self, number: int) -> int:
        return self._inside(number, [each for each in self.ranges if each.groups])

    @staticmethod
    def _inside(number: int, ranges: Sequence[Range]) -> int:
        if not ranges:
            return number
        found = (
            each.inside + number - each.disk
            for each in ranges
            if each.disk <= number < each.disk + each.count
        )
        return next(found, OVERFLOW)


@dataclass(frozen=True, slots=True)
class Request:
    """One look at a tree."""

    dataset: str  # of ZFS, or a snapshot; it is mounted
    root: str  # the folder of it that the tree begins with; "": all of it
    path: str  # within the tree
    what: What
    label: str  # the id in each line of a list
    owners: Owners = Owners()
    later: str = ""  # to compare with: another dataset
    later_owners: Owners = Owners()

    @classmethod
    def parse(cls, line: bytes) -> Self:
        fields = json.loads(line)
        for name in ("owners", "later_owners"):
            fields[name] = Owners([Range(**each) for each in fields[name]["ranges"]])
        return cls(**{**fields, "what": What(fields["what"])})

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


class Change(StrEnum):
    """What a line of a comparison begins with."""

    REMOVED = "r"  # only the earlier tree has it
    ADDED = "a"  # only the later tree has it
    BEFORE = "b"  # as the earlier tree has it, where they differ
    AFTER = "n"  # as the later one has it, in the next line


class Kind(StrEnum):
    """What comes after the first line."""

    LINES = "lines"
    FILE = "file"
    TAR = "tar"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Answer:
    """The first line. Where it has an error, nothing follows."""

    kind: Kind | None
    code: str = ""
    message: str = ""
    hint: str = ""
    folder: str = ""  # where the tree's folder is for others of this host, while it is held

    @classmethod
    def refused(cls, error: BackupError) -> Self:
        return cls(None, error.code, error.message, error.hint)

    @classmethod
    def parse(cls, line: bytes) -> Self:
        answer = cls(**json.loads(line))
        return answer if answer.kind is None else replace(answer, kind=Kind(answer.kind))

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"
