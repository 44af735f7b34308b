"""The contract between the tools and a source: what lxd, postgres and clickhouse have in common.

A source knows its servers and its file formats. It knows nothing of schedules, retention or the
stages of records. It lists objects, judges whether a chain can go on, takes a snapshot, and
restores an object from a chain of snapshots. How it takes one depends on where it keeps them:
a folder source fills a folder of this host, a point source leaves a point within the source, and
a direct source has its server write to S3. Only the last knows S3.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, Protocol

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.findings import Finding
from three_backup.model.hashed_stream import HashedPiece
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.s3.store import Store
from three_backup.sources.jobs import (
    CheckJob,
    ClearJob,
    CopiedKey,
    CopyJob,
    DirectJob,
    DrillJob,
    FolderJob,
    RestoreJob,
    Say,
    SnapshotFiles,
    SnapshotJob,
    Wanted,
    WholeJob,
)
from three_backup.sources.logged import LoggedSource
from three_backup.sources.looking import Content, LookedInto
from three_backup.sources.preparing import Prepared

OpenStream = Callable[[], AbstractContextManager[BufferedIOBase]]
"""Opens the stream of a point."""


@dataclass(frozen=True, slots=True)
class Found:
    """A live object."""

    id: ObjectId
    size: int | None  # bytes at the source, None where that is not known
    carrier: Carrier  # holds the snapshots of the object
    # What tb-discover adds to the record (kind, the server's state), plain JSON. `unsupported`
    # says why the object cannot be backed up.
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of a source that could not be listed."""

    id: str  # of that part, for example `postgres/table/prod`
    error: BackupError
    carrier: Carrier | None = None  # its snapshots may hold the part; None where not known


class ParentUnusableError(BackupError):
    """No incremental can follow this parent; a base can be taken. The message says why."""


class NothingToTakeError(BackupError):
    """No snapshot can or need be taken now. That is no failure; the message says why."""


class PointHeldError(BackupError):
    """A point cannot be removed now. That is no failure; the message says why."""


class LackingError(BackupError):
    """An object needs something that is missing: once that is restored, a retry may succeed."""


class AbsentError(BackupError):
    """Nothing had the name of the object then."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a successful restore or drill."""

    facts: Mapping[str, Any]  # plain JSON for the record (rows, bytes_read)
    notes: tuple[str, ...] = ()  # sentences for people


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of a restore; nothing was touched to find it out."""

    # Plain JSON for the record: the bytes to read (`bytes_read`, and by place in `read_from`),
    # what would be made (`names`, `creates`) and replaced (`replaces`), what the object
    # `depends_on`, and its `dependents`.
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Source(Prepared, Protocol):
    """One kind of server."""

    @property
    def type(self) -> str: ...

    @property
    def kept(self) -> Kept: ...

    # The subtypes of its objects in the order of a restore: what others refer to comes first.
    @property
    def subtypes(self) -> tuple[str, ...]: ...

    @property
    def content(self) -> Content: ...

    # The types of other sources into which its objects can be restored as well.
    @property
    def akin(self) -> tuple[str, ...]: ...

    # Whether a RestoreJob may have SQL to run before rows leave what was revived.
    @property
    def runs_sql(self) -> bool: ...

    # Any of these programs on PATH says that the source is in use here.
    @property
    def programs(self) -> tuple[str, ...]: ...

    def discover(
        self, patterns: Sequence[str], source_settings: Settings, say: Say
    ) -> Iterator[Found | Unreadable]:
        """Yield every live object that a pattern selects, those of one carrier together.

        Raises BackupError where the source as a whole cannot be read.
        """

    def broken_chain(
        self, live: Sequence[tuple[Mapping[str, Any], Settings]], newest: Manifest
    ) -> str | None:
        """Return why no incremental can follow newest, None if one can.

        live: discovered records of one carrier with the settings of their objects.
        """

    def definition(self, manifest: Manifest) -> Mapping[str, Any]:
        """Return what a manifest of one object holds of its definition, by names of its parts.

        The values may be secrets: they are compared, never shown. Empty where definitions lie
        among the data.
        """


class Restorer(Protocol):
    """Restores objects of one source."""

    def restore(self, job: RestoreJob) -> Iterator[tuple[Wanted, Restored | BackupError]]:
        """Restore the wanted objects, and yield each with its outcome.

        A target whose restore failed was not touched. Raises BackupError where none could be
        restored. Temporary files are gone afterwards.
        """

    def plan(self, job: RestoreJob) -> Iterator[tuple[Wanted, Planned | BackupError]]:
        """Yield what restore() would do for each wanted object, or why it would refuse.

        Neither the source's server nor a snapshot is changed; temporary files are gone afterwards.
        """

    def drill(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        """Restore each object into a scratch place and examine it.

        The scratch place is removed afterwards; nothing live is touched. facts: rows; content, a
        hash of all rows in their stored order, where the job asks for it; moment, where it names a
        landing: the one that was reached. AbsentError: nothing had the name at that moment.
        """

    def read_through(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        """Read all that the chain stores and compare it with its hashes, restoring nothing.

        Objects that were not asked for are yielded too where their bytes are damaged.
        """


class PackedSource(Protocol):
    """A source of whose large data files hashes lie beside them, not in the manifest."""

    def hashes(self, files: SnapshotFiles, name: str) -> Sequence[HashedPiece]:
        """Return the pieces that make up a data file of which the manifest has no sha256.

        Raises BackupError where what lies beside the file cannot be trusted.
        """


class FolderSource(Source, Restorer, LookedInto, LoggedSource, PackedSource, Protocol):
    """A source whose snapshots fill folders of this host.

    Each holds a whole server, which can be restored as files.
    """

    def check(self, job: CheckJob) -> Iterator[Finding]:
        """Check whether the server's state, its configuration and our access allow a backup.

        Findings name the exact remedy. Nothing at the server is changed. Raises BackupError for
        the first problem that ends the check.
        """

    def take(self, job: FolderJob) -> Manifest:
        """Fill job.directory. Raises ParentUnusableError, NothingToTakeError, BackupError.

        Where the manifest does not list an enabled live object, its fact LACKING says why.
        """

    def restore_whole(self, job: WholeJob) -> Restored:
        """Fill job.directory. Raises BackupError; a restore that failed leaves nothing behind."""

    def plan_whole(self, job: WholeJob) -> Planned:
        """Return what restore_whole() would do; nothing is touched. Raises BackupError."""


class DirectSource(Source, Protocol):
    """A source whose server writes snapshots to S3 itself: this host stores none of them."""

    def check(self, job: CheckJob, store: Store | None, folder: str) -> Iterator[Finding]:
        """Check as a FolderSource does, and that the server can write to the store.

        folder: a prefix that ends in a slash; the keys written below it are deleted again.
        """

    def take(self, job: DirectJob) -> Manifest:
        """Have the server write a snapshot. Raises as a FolderSource does.

        What is about to begin is noted on disk, so that it is found whichever process is killed.
        The next take() finishes that snapshot and returns its manifest, or clears it away.
        """

    def clear(self, job: ClearJob) -> None:
        """End and remove snapshots begun too long ago to be finished. Raises BackupError."""

    def copied(self, job: CopyJob) -> Iterator[CopiedKey]:
        """Yield the keys that a copy of the last snapshot of a chain consists of, in their order.

        The last one makes it complete. Raises BackupError if the snapshot is not.
        """

    def reading(self, store: Store) -> Restorer:
        """Return a restorer of what lies in the store."""

    def looking(self, store: Store) -> LookedInto:
        """Return what looks into snapshots that lie in the store."""


class PointSource(Source, Restorer, LookedInto, PackedSource, Protocol):
    """A source that holds snapshots itself, as points: this host stores only their manifests.

    A point is restored without its parents. Its manifest lists no files; `facts["guid"]` tells
    the point from any other of its name.
    """

    def check(self, job: CheckJob) -> Iterator[Finding]:
        """Check as a FolderSource does."""

    def take(self, job: SnapshotJob) -> Manifest:
        """Make a point. Raises as a FolderSource does.

        A failure leaves no point behind, unless the server no longer answers.
        """

    def points(self, carrier: Carrier) -> Mapping[SnapshotId, str]:
        """Return every point of ours that is there, with its guid."""

    def streams(self, manifest: Manifest) -> Mapping[str, OpenStream]:
        """Return the streams that restore the point, or make it from its parent, by data file.

        Each has the same bytes each time. If one is not whole, its last read raises BackupError.
        """

    def remove(self, carrier: Carrier, snapshot: SnapshotId) -> None:
        """Remove the point, if it is there. Raises PointHeldError, BackupError."""
