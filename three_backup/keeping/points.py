"""Keeps snapshots in their source, as points; this host stores their manifests.

Somebody may have removed points behind our back (`lxc restore`, `zfs destroy`), a run may have
been killed between a point and its manifest, and the manifests of this host may be lost though S3
has them. So both are compared before anything is built on a point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.keeping.base import KeptNearby
from three_backup.keeping.sending import Sending, Sent
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored
from three_backup.screen.progress import Transfer
from three_backup.sources.base import PointSource
from three_backup.sources.jobs import Say, SnapshotJob
from three_backup.sources.looking import LookedInto


@dataclass(frozen=True, slots=True)
class PointKeeping(KeptNearby):
    source: PointSource

    def known(
        self, catalog: Catalog, carrier: Carrier, listed: Sequence[Stored], say: Say
    ) -> Sequence[Stored]:
        """Make the local snapshots those that have a point."""
        for snapshot in catalog.local.unfinished(carrier):
            self.source.remove(carrier, snapshot)
        catalog.local.sweep(carrier)
        there = self.source.points(carrier) if listed else {}
        found = []
        for stored in listed:
            is_here = stored.id in there and _is_there(catalog.manifest(carrier, stored), there)
            if stored.local and not is_here:
                say(f"{carrier}: the point of {stored.id} is gone from its source")
                catalog.local.remove(carrier, stored.id)
            elif is_here and not stored.local:
                _adopt(catalog, catalog.manifest(carrier, stored))
            if is_here or stored.s3:
                found.append(stored._replace(local=is_here))
        return found

    def take(self, catalog: Catalog, job: SnapshotJob) -> Manifest:
        """Take a snapshot; the folder that is begun for it tells the next run that it failed.

        The point may be there: the run was killed, or its source was silent also afterwards.
        """
        with catalog.local.begin(job.carrier, job.snapshot, remembered=True) as directory:
            manifest = self.source.take(job)
            catalog.local.commit(directory, manifest)
        return manifest

    def size_to_send(self, manifest: Manifest) -> int:
        return manifest.stored_size

    def send(self, catalog: Catalog, manifest: Manifest, progress: Transfer) -> Sent:
        return Sending(catalog, manifest, progress).streams(self.source.streams(manifest))

    def remove(self, catalog: Catalog, carrier: Carrier, snapshot: SnapshotId) -> None:
        """Remove the point, then the manifest.

        In this order, as a manifest without its point is noticed, a point without manifest is not.
        """
        self.source.remove(carrier, snapshot)
        catalog.local.remove(carrier, snapshot)

    def nameless(
        self, catalog: Catalog, carrier: Carrier, discovered: Mapping[str, Any]
    ) -> Sequence[SnapshotId]:
        """Ask the source only if a discovered point seems to belong to no snapshot."""
        known = {str(stored.id) for stored in catalog.snapshots(carrier)}
        if known.issuperset(discovered.get("points", ())):
            return ()
        return [point for point in self.source.points(carrier) if str(point) not in known]

    def looked_into(self, catalog: Catalog) -> LookedInto:
        return self.source

    def is_at_source(self, catalog: Catalog, carrier: Carrier, stored: Stored) -> bool:
        if not stored.local:
            return False
        return _is_there(catalog.manifest(carrier, stored), self.source.points(carrier))


def _is_there(manifest: Manifest, points: Mapping[SnapshotId, str]) -> bool:
    """Return whether points has the point of the manifest, and not another of the same name."""
    guid: str = manifest.facts["guid"]
    return points.get(manifest.snapshot) == guid


def _adopt(catalog: Catalog, manifest: Manifest) -> None:
    with catalog.local.begin(manifest.carrier, manifest.snapshot) as directory:
        catalog.local.commit(directory, replace(manifest, files=(), encrypted=None))
