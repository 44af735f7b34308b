"""Keys in S3 that belong to no snapshot and that nothing of this host names.

They come from hosts that were lost in the middle of an upload, and from folders of this host that
were. Whatever may still be wanted is left alone: what a manifest, a hold, a snapshot here or a
journal names, what an upload is open for, what is younger than a week, what another host owns.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.host.machine import this_host
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId, rfc3339
from three_backup.s3 import ownership
from three_backup.s3.multipart import keys_of_open_uploads
from three_backup.s3.store import OWNER
from three_backup.sources import SOURCES

_PATIENCE = timedelta(weeks=1)
_Place = tuple[Carrier, SnapshotId]


class Why(StrEnum):
    """The reason for which an orphan is left alone."""

    YOUNG = "younger than a week"
    OPEN = "an upload is open"


@dataclass(slots=True)
class Orphan:
    """The keys in the folder of one snapshot that is none."""

    carrier: Carrier
    snapshot: SnapshotId
    newest: datetime  # when the newest key was written, by the server's clock
    keys: int = 0
    size: int = 0  # bytes
    stays: Why | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The field of a record."""
        return {
            "snapshot": str(self.snapshot),
            "keys": self.keys,
            "bytes": self.size,
            "newest": rfc3339(self.newest),
            **({"stays": str(self.stays)} if self.stays else {}),
        }

    @property
    def folder(self) -> str:
        return layout.data_folder(self.carrier, self.snapshot)


def find(catalog: Catalog, now: datetime) -> list[Orphan]:
    """Return the orphans below the prefix, by carrier and time.

    Costs a listing of all data, and a request for each orphan. Raises ConfigurationError if
    another host writes there: only that one knows what it has begun.
    """
    owner = ownership.read(catalog.bucket)
    if owner is not None:
        ownership.check(catalog.bucket, owner, this_host(), strictly=False)
    found = [orphan for orphan in _unlisted(catalog) if not _is_named(catalog, orphan)]
    uploads = keys_of_open_uploads(catalog.bucket, f"{layout.DATA}/") if found else []
    for orphan in found:
        orphan.stays = _why_it_stays(orphan, uploads, now)
    return sorted(found, key=lambda orphan: (orphan.carrier, str(orphan.snapshot)))


def remove(catalog: Catalog, orphan: Orphan, now: datetime) -> None:
    """Remove an orphan that nothing keeps. The caller holds the carrier's lock.

    Raises BackupError if it is no orphan any more: another run was at work since it was found.
    """
    keys = list(catalog.bucket.all_keys(f"{orphan.folder}/"))
    newest = max((key.modified for key in keys), default=orphan.newest)
    if _is_named(catalog, orphan) or newest > now - _PATIENCE:
        raise BackupError(
            "rotate.no_orphan",
            f"{orphan.carrier}: {orphan.snapshot} was begun anew meanwhile",
            "look again: tb-rotate --orphans",
        )
    catalog.bucket.delete_folder(f"{orphan.folder}/")


def _unlisted(catalog: Catalog) -> Iterator[Orphan]:
    """Yield the folders of data that belong to no listed snapshot and lie below no other host's.

    The manifests are listed first, so that only what may be an orphan is remembered.
    """
    catalog.list_everything()
    types = {source.type for source in SOURCES}
    found: dict[_Place, Orphan] = {}
    foreign: list[str] = []
    listed: tuple[Carrier | None, set[SnapshotId]] = None, set()
    for key in catalog.bucket.all_keys(f"{layout.DATA}/"):
        if key.key.endswith(f"/{OWNER}"):
            foreign.append(key.key.removesuffix(OWNER))
        place = layout.folder_of_data(key.key)
        if place is None or place[0].type not in types:
            continue
        if listed[0] != place[0]:
            listed = place[0], {stored.id for stored in catalog.snapshots(place[0])}
        if place[1] not in listed[1]:
            orphan = found.setdefault(place, Orphan(*place, newest=key.modified))
            orphan.keys, orphan.size = orphan.keys + 1, orphan.size + key.size
            orphan.newest = max(orphan.newest, key.modified)
    for orphan in found.values():
        folder = f"{orphan.folder}/"
        if not any(folder.startswith(other) or other.startswith(folder) for other in foreign):
            yield orphan


def _is_named(catalog: Catalog, orphan: Orphan) -> bool:
    """Return whether anything of ours names the snapshot by now.

    In this order: an upload writes the manifest before it removes its journal.
    """
    carrier, snapshot = orphan.carrier, orphan.snapshot
    return (
        snapshot in catalog.local.snapshots(carrier)
        or snapshot in catalog.local.unfinished(carrier)
        or catalog.local.journals(carrier, snapshot).is_dir()
        or snapshot in catalog.holds.snapshots(carrier)
        or catalog.bucket.size(layout.manifest_key(carrier, snapshot)) is not None
    )


def _why_it_stays(orphan: Orphan, uploads: Iterable[str], now: datetime) -> Why | None:
    if any(key.startswith(f"{orphan.folder}/") for key in uploads):
        return Why.OPEN
    return Why.YOUNG if orphan.newest > now - _PATIENCE else None
