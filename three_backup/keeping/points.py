"""Makes this host's manifests agree with the points that lie in their source.

Somebody may have removed points behind our back (`lxc restore`, `zfs destroy`), a run may have
been killed between a point and its manifest, and the manifests of this host may be lost though S3
has them. The caller holds the carrier's lock.
"""

from collections.abc import Mapping
from dataclasses import replace

from three_backup.catalog.catalog import Catalog, Stored
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.base import PointSource
from three_backup.sources.jobs import Say


def reconcile(source: PointSource, catalog: Catalog, carrier: str, say: Say) -> list[Stored]:
    """Make the local snapshots those that have a point; return all snapshots, oldest first."""
    for snapshot in catalog.local.unfinished(carrier):
        source.remove(carrier, snapshot)
    catalog.local.sweep(carrier)
    snapshots, there = catalog.snapshots(carrier), source.points(carrier)
    for stored in snapshots:
        if stored.local and not is_there(catalog.local.manifest(carrier, stored.id), there):
            say(f"{carrier}: the point of {stored.id} is gone from its source")
            catalog.local.remove(carrier, stored.id)
        elif not stored.local and stored.id in there:
            _adopt(catalog, catalog.manifest(carrier, stored), there)
    return catalog.snapshots(carrier)


def is_there(manifest: Manifest, points: Mapping[SnapshotId, str]) -> bool:
    """Return whether points has the point of the manifest, and not another of the same name."""
    guid: str = manifest.facts["guid"]
    return points.get(manifest.snapshot) == guid


def remove(source: PointSource, catalog: Catalog, carrier: str, snapshot: SnapshotId) -> None:
    """Remove the point, then the manifest. Raises PointHeldError.

    In this order, as a manifest without its point is noticed, a point without manifest is not.
    """
    source.remove(carrier, snapshot)
    catalog.local.remove(carrier, snapshot)


def _adopt(catalog: Catalog, manifest: Manifest, points: Mapping[SnapshotId, str]) -> None:
    if is_there(manifest, points):
        with catalog.local.begin(manifest.carrier, manifest.snapshot) as directory:
            catalog.local.commit(directory, replace(manifest, files=()))
