"""Looking into a snapshot: the words in which a tool asks a source, and what it answers."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.comparing import CompareJob, Comparing
from three_backup.sources.jobs import RestoreJob


class Content(StrEnum):
    """The kind of content that the objects of a source have."""

    ROWS = "rows"
    FILES = "files"


class Form(StrEnum):
    """The forms in which every source writes rows; some know more."""

    CSV = "csv"  # RFC 4180, with a line of names
    JSON = "json"  # an object a line
    SQL = "sql"  # loads them into a table of the same name


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows that are asked for."""

    form: str = Form.CSV
    columns: tuple[str, ...] = ()  # by name, in this order; empty: all
    where: str | None = None  # a condition in the SQL of the server
    limit: int | None = None  # so many rows at most


@dataclass(frozen=True, slots=True)
class Way:
    """How an open object is reached."""

    command: str  # for a shell: opens a session that reads, or shows a folder
    facts: Mapping[str, Any]  # for the record: host, port, user, database, relation, moment
    notes: tuple[str, ...] = ()  # sentences for people
    end: int | None = None  # a descriptor to read from once nobody answers there; None: not known


@dataclass(frozen=True, slots=True)
class Shown:
    """A file, folder or other thing at a path of an object."""

    is_tar: bool  # of a folder; else the bytes of a file
    pieces: Iterator[bytes]  # of any size; raises BackupError, also in the middle


class Looking(Protocol):
    """Objects of a snapshot that can be looked at."""

    def rows(self, object_id: ObjectId, asked: Asked) -> Iterator[bytes]:
        """Yield the rows in pieces of any size. Raises BackupError, also in the middle."""

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        """Yield what makes the object, as SQL or YAML. Raises BackupError."""

    def names(self, object_id: ObjectId, path: str) -> Iterator[bytes]:
        """Yield a line of JSON for the path, and for each name below it. Raises BackupError."""

    def at_path(self, object_id: ObjectId, path: str) -> AbstractContextManager[Shown]:
        """Open a file or a folder during the block. Raises BackupError."""

    def opened(self, object_id: ObjectId) -> AbstractContextManager[Way]:
        """Let whoever runs us reach the object during the block. Raises BackupError."""


class LookedInto(Protocol):
    """A source whose snapshots can be looked into."""

    def look(self, job: RestoreJob) -> AbstractContextManager[Looking]:
        """Have the wanted objects ready during the block; nothing is left of them afterwards.

        job.options: `definition` says that nothing else is looked at. No live server is touched.
        Raises BackupError where none of them can be had.
        """

    def compare(self, job: CompareJob) -> AbstractContextManager[Comparing]:
        """Have both moments of the wanted objects ready during the block; no server is changed.

        Raises BackupError where none of them can be had.
        """


def no_rows(object_id: ObjectId) -> BackupError:
    return BackupError(
        "look.files",
        f"{object_id}: it has files, not rows",
        "--list names them, --path etc/hosts shows one",
    )


def no_files(object_id: ObjectId) -> BackupError:
    return BackupError(
        "look.rows",
        f"{object_id}: it has rows, not files",
        "leave out --path and --list, and its rows are shown",
    )
