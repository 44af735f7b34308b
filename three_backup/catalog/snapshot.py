"""One snapshot in a catalog, and the chain that it ends."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.files import Files
from three_backup.errors import BackupError, BrokenChainError
from three_backup.host.locks import carrier_lock
from three_backup.model import layout
from three_backup.model.dependencies import missing_links
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored, chain, stamp

_ANOTHER = "restore another one with --snapshot; tb-list --stored --snapshots names them"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a carrier in a catalog."""

    catalog: Catalog
    carrier: Carrier
    stored: Stored

    @property
    def id(self) -> SnapshotId:
        return self.stored.id

    @property
    def name(self) -> tuple[str, SnapshotId]:
        """Its carrier and id; the same snapshot in another catalog has this name, too."""
        return self.carrier, self.id

    def manifest(self) -> Manifest:
        return self.catalog.manifest(self.carrier, self.stored)

    def files(self) -> Files:
        return self.catalog.files(self.carrier, self.stored)

    def chain(self) -> list[Files]:
        """Return the files of the base, of the incrementals after it and its own, in order.

        Raises BrokenChainError where a link is missing, BackupError where the snapshot itself was
        removed since.
        """
        snapshots = {stored.id: stored for stored in self.catalog.snapshots(self.carrier)}
        if self.id not in snapshots:
            raise self._removed()
        links = chain(snapshots, self.id)
        if links is None:
            raise self._broken(missing_links(snapshots.values(), Kept.FOLDERS)[self.id])
        return [self.catalog.files(self.carrier, snapshots[link]) for link in links]

    def require(self) -> None:
        """Look anew whether the snapshot is there. Raises BackupError if it was removed.

        What it builds on is there, too: children are removed before their parents.
        """
        catalog, carrier = self.catalog, self.carrier
        if self.stored.local and self.id in catalog.local.snapshots(carrier):
            return
        key = layout.manifest_key(carrier, self.id)
        if not self.stored.s3 or catalog.bucket.size(key) is None:
            raise self._removed()

    def undisturbed(self) -> AbstractContextManager[None]:
        """Keep others from removing snapshots of the carrier meanwhile."""
        return carrier_lock(self.catalog.storage.local_dir, self.carrier, shared=True)

    def _removed(self) -> BackupError:
        sentence = f"{self.carrier}: snapshot {self.id} was removed meanwhile"
        return BackupError("catalog.removed", sentence, _ANOTHER)

    def _broken(self, link: datetime) -> BrokenChainError:
        """link: when the snapshot was taken that is gone."""
        partial = self.catalog.partial
        return BrokenChainError(
            "catalog.broken_chain",
            f"{self.carrier}: snapshot {self.id} cannot be restored: that of {stamp(link)}, on "
            f"which it builds, {'does not lie on this host' if partial else 'is gone'}",
            "restore it once S3 can be read again" if partial else _ANOTHER,
        )
