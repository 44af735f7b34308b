"""The contract between the tools and a source: what lxd, postgres and clickhouse have in common.

A source knows its servers and its file formats. It knows nothing of schedules, retention, S3 or
records' stages: it lists objects, judges whether a chain can go on, fills a folder with a
snapshot, and restores an object out of a chain of snapshots. A direct source has no folder to
fill: its server writes snapshots to S3 itself, and reads them there. Nor has a point source: its
snapshots lie in the source, and are streamed from there to S3.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, Protocol

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.findings import Finding
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.jobs import (
    CheckJob,
    ClearJob,
    DrillJob,
    RestoreJob,
    Say,
    SnapshotJob,
    Wanted,
    WholeJob,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A live object. size: bytes at the source, None where that is not known; carrier: who holds
    its snapshots; facts: what tb-discover adds to the record (kind, the server's state), plain
    JSON: `unsupported` among them says why the object cannot be backed up."""

    id: ObjectId
    size: int | None
    carrier: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of a source that could not be listed. id: the id of that part, `postgres/table/prod`
    say; carrier: whose snapshots may hold it, None where that is not known."""

    id: str
    error: BackupError
    carrier: str | None = None


class ParentUnusableError(BackupError):
    """No increment can follow this parent; a base can be taken. message says why."""


class NothingToTakeError(BackupError):
    """No snapshot can or need be taken now, and that is no failure. message says why."""


class PointHeldError(BackupError):
    """A point cannot go now, and that is no failure. message says why."""


class LackingError(BackupError):
    """It cannot come back without something that is not there: once that is restored, it may."""


@dataclass(frozen=True, slots=True)
class Restored:
    """facts: plain JSON for the record (rows, bytes_read); notes: sentences for people."""

    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """What a restore would do; nothing was touched to find it out. facts: plain JSON for the
    record: what it would read (`bytes_read`, and `read_from` of which place), make (`names`,
    `creates`) and replace, what it `depends_on`, and what are its `dependents`."""

    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()


LACKING = "lacking"
"""The fact of a manifest that says why enabled live objects are not in the snapshot: `why` and
`hint` by the id of each, or by what begins the ids of many (`postgres/table/production`)."""


def why_lacking(manifest: Manifest, id: ObjectId) -> BackupError | None:
    """Of an object that the manifest does not list; None where it is gone at the source."""
    levels = str(id).split("/")
    prefixes = ("/".join(levels[:count]) for count in range(len(levels), 0, -1))
    reasons = manifest.facts.get(LACKING, {})
    for reason in (reasons[prefix] for prefix in prefixes if prefix in reasons):
        message = f"{id}: snapshot {manifest.snapshot} does not hold it: {reason['why']}"
        return BackupError("snapshot.lacks", message, reason["hint"])
    return None


class Source(Protocol):
    """One kind of server. `programs`: any of them on PATH says that the source is in use here;
    `subtypes`: of its objects, those first to which others refer, as they are restored."""

    @property
    def type(self) -> str: ...

    @property
    def subtypes(self) -> tuple[str, ...]: ...

    @property
    def programs(self) -> tuple[str, ...]: ...

    def discover(
        self, patterns: Sequence[str], source_settings: Settings, say: Say
    ) -> Iterator[Found | Unreadable]:
        """Every live object that a pattern selects, those of one carrier together.

        Raises BackupError where the source as a whole cannot be read.
        """

    def broken_chain(
        self, live: Sequence[tuple[Mapping[str, Any], Settings]], newest: Manifest
    ) -> str | None:
        """Why no increment can follow newest, None if one can.

        live: discovered records of one carrier with the settings of their objects.
        """

    def check(self, job: CheckJob) -> Iterator[Finding]:
        """Whether the server can be backed up as it is, as it is configured and as we are let in,
        with the exact remedy; changes nothing there.

        Raises BackupError for the first thing that cannot be passed over.
        """

    def take(self, job: SnapshotJob) -> Manifest:
        """Fill job.directory. Raises ParentUnusableError, NothingToTakeError, BackupError.

        Of an enabled live object that the manifest does not list its facts say why, as LACKING.
        """

    def restore(self, job: RestoreJob) -> Iterator[tuple[Wanted, Restored | BackupError]]:
        """Each wanted object with its outcome; a target whose restore failed was not touched.

        Raises BackupError where none could be restored. Temporary files are gone afterwards.
        """

    def plan(self, job: RestoreJob) -> Iterator[tuple[Wanted, Planned | BackupError]]:
        """What restore() would do for each wanted object, or why it would refuse.

        Neither the source's server nor a snapshot is touched; temporary files are gone afterwards.
        """

    def drill(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        """Bring each object back into a scratch place and look at it; all of it is gone then, and
        nothing that is live was touched.

        facts: rows; content, a hash of all rows in their stored order, where it was asked for.
        """

    def read_through(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        """Read all that the chain stores and compare it with its hashes, restoring nothing.

        Objects that were not asked for are told of as well where their bytes are damaged.
        """


class DirectSource(Source, Protocol):
    """A source whose server writes snapshots to S3 itself: this host stores none of them.

    What take() begins it notes on disk before, so that it is found whoever is killed. The next
    take() finishes it, and returns the manifest of that snapshot, or clears it away.
    """

    def clear(self, job: ClearJob) -> None:
        """End and remove what is too old to be finished. Raises BackupError."""


class PointSource(Source, Protocol):
    """A source that holds snapshots itself, as points: this host stores their manifests only.

    A point restores without its parents. Its manifest has no files, and in `facts["guid"]` what
    tells the point from any other of its name. take() leaves no point behind where it fails; of
    one that was killed the tools know by the folder that it was given.
    """

    def points(self, carrier: str) -> Mapping[SnapshotId, str]:
        """Every point of ours that is there, with its guid."""

    def stream(self, manifest: Manifest) -> AbstractContextManager[BufferedIOBase]:
        """What restores the point, or makes it of its parent: the same bytes each time.

        The stream has ended only when it is whole: the last read raises BackupError otherwise.
        """

    def remove(self, carrier: str, snapshot: SnapshotId) -> None:
        """What is not there is removed already. Raises PointHeldError, BackupError."""


class WholeSource(Source, Protocol):
    """A source of whose snapshots each holds a whole server, which can come back as files."""

    def restore_whole(self, job: WholeJob) -> Restored:
        """Fill the directory. Raises BackupError; nothing is left of a restore that failed."""

    def plan_whole(self, job: WholeJob) -> Planned:
        """What restore_whole() would do; nothing is touched. Raises BackupError if it refuses."""
