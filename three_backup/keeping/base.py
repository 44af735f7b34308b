"""The contract between the tools and the ways in which snapshots are kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.keeping import removal
from three_backup.keeping.copying import Copying, copy_files
from three_backup.keeping.sending import Sent
from three_backup.model.findings import Finding
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored
from three_backup.screen.progress import Transfer
from three_backup.sources.base import FolderSource, PointSource, Restorer, Source
from three_backup.sources.jobs import CheckJob, Say, SnapshotJob
from three_backup.sources.looking import LookedInto


class Keeping(Protocol):
    """How the snapshots of one source are kept.

    What changes the snapshots of a carrier, or counts on them, is called under its lock.
    """

    @property
    def source(self) -> Source: ...

    @property
    def logged(self) -> FolderSource | None:
        """The source, if what its servers log between snapshots is kept, too."""

    @property
    def sends(self) -> bool:
        """Whether snapshots are uploaded; else the server has written them to S3 itself."""

    @property
    def overlaps(self) -> bool:
        """Whether jobs of its restorer may run at once, in threads; their turns exclude them."""

    def without_s3(self, catalog: Catalog, error: BackupError) -> Catalog:
        """Return what is left of the catalog while S3 is away.

        Raises the error if it says something else, or if these snapshots lie in S3 only.
        """

    def check(self, job: CheckJob, catalog: Catalog) -> Iterator[Finding]:
        """Check whether a backup is possible, as `sources.base` has it."""

    def known(
        self, catalog: Catalog, carrier: Carrier, listed: Sequence[Stored], say: Say
    ) -> Sequence[Stored]:
        """Return the listed snapshots, oldest first, as they are found where they lie."""

    def take(self, catalog: Catalog, job: SnapshotJob) -> Manifest:
        """Take and store a snapshot. Raises what the source's take() raises."""

    def size_to_send(self, manifest: Manifest) -> int:
        """Return the bytes that an upload of the snapshot moves; an estimate for a stream."""

    def send(self, catalog: Catalog, manifest: Manifest, progress: Transfer) -> Sent:
        """Upload the snapshot, going on where an earlier upload stopped."""

    def copy(self, job: Copying) -> Sent:
        """Copy a snapshot from store to store, going on where an earlier copy stopped.

        Raises DamagedError where the source has other bytes than were stored.
        """

    def remove(self, catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
        """Remove the copy that lies outside of S3. Raises PointHeldError."""

    def remove_from_s3(self, catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
        """Remove the copy in S3."""

    def clear(self, catalog: Catalog, carrier: Carrier, now: datetime, say: Say) -> None:
        """Clear from S3 what was begun and will never be finished."""

    def nameless(
        self, catalog: Catalog, carrier: Carrier, discovered: Mapping[str, Any]
    ) -> Sequence[SnapshotId]:
        """Return the copies outside of S3 that belong to no snapshot.

        discovered: the fields of a record of the carrier; they may be out of date.
        """

    def is_at_source(self, catalog: Catalog, carrier: Carrier, stored: Stored) -> bool:
        """Return whether the source holds the snapshot itself, so that nothing else is read."""

    def restorer(self, catalog: Catalog) -> Restorer: ...

    def looked_into(self, catalog: Catalog) -> LookedInto:
        """Return what looks into snapshots."""


@dataclass(frozen=True, slots=True)
class KeptNearby:
    """What folders of this host and points in the source have in common."""

    source: FolderSource | PointSource
    sends: ClassVar = True
    overlaps: ClassVar = False

    @property
    def logged(self) -> FolderSource | None:
        return None

    def without_s3(self, catalog: Catalog, error: BackupError) -> Catalog:
        return catalog.without_s3(error)

    def check(self, job: CheckJob, catalog: Catalog) -> Iterator[Finding]:
        return self.source.check(job)

    def copy(self, job: Copying) -> Sent:
        return copy_files(self.source, job)

    def remove_from_s3(self, catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
        removal.remove_files(catalog, carrier, snapshot)

    def clear(self, catalog: Catalog, carrier: Carrier, now: datetime, say: Say) -> None:
        removal.clear_unfinished(catalog, carrier, now, say)

    def restorer(self, catalog: Catalog) -> Restorer:
        return self.source
