"""One snapshot in a catalog, and the chain that it ends."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from three_backup.catalog.catalog import Catalog, Files
from three_backup.errors import BackupError
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored, chain


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

        Raises BackupError where a link is missing, or where the snapshot itself was removed since.
        """
        snapshots = {stored.id: stored for stored in self.catalog.snapshots(self.carrier)}
        if self.id not in snapshots:
            raise self._broken("was removed meanwhile")
        links = chain(snapshots, self.id)
        if links is None:
            raise self._broken("lacks the snapshot it is an increment of")
        return [self.catalog.files(self.carrier, snapshots[link]) for link in links]

    def undisturbed(self) -> AbstractContextManager[None]:
        """Keep others from removing snapshots of the carrier meanwhile."""
        return carrier_lock(self.catalog.storage.local_dir, self.carrier, shared=True)

    def _broken(self, what: str) -> BackupError:
        return BackupError(
            "catalog.broken_chain",
            f"{self.carrier}: snapshot {self.id} {what}",
            "restore an older one with --snapshot; tb-list --snapshots names them",
        )
