"""Hollow snapshots: their manifests lie in S3, but not the data that these promise.

Somebody may have written a manifest without data, a lifecycle rule may have taken the data, or the
store may have lost it. One listing of a carrier's data shows it, by names and sizes. Content that
is wrong but has the right size is seen only by a restore.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from three_backup.catalog.catalog import Catalog
from three_backup.errors import ManifestError
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored
from three_backup.s3.volumes import volume_key

_LOCK, _OWN_MANIFEST = ".lock", ".backup"
"""Keys of a server at the top of its folder: one of them is passing, the other one may grow."""


def look(
    catalog: Catalog, carrier: Carrier, snapshots: Iterable[SnapshotId]
) -> dict[SnapshotId, str]:
    """Return those of the snapshots in S3 that are hollow, oldest first, each with what it lacks.

    Costs one listing of the carrier's data, and a request for each manifest that is not cached.
    """
    hollow: dict[SnapshotId, str] = {}
    promises: dict[str, _Promise] = {}
    for snapshot in snapshots:
        try:
            manifest = catalog.manifest(carrier, Stored(snapshot, local=False, s3=True))
            promises.update((each.place, each) for each in _promised(manifest))
        except ManifestError as error:
            hollow[snapshot] = error.message
    if promises:
        _tick_off(catalog, carrier, promises)
    for promise in promises.values():
        if not promise.kept:
            hollow.setdefault(promise.snapshot, promise.lack)
    return dict(sorted(hollow.items()))


@dataclass(slots=True)
class _Promise:
    """A file in numbered volumes, or a folder that a server filled, as its manifest has it."""

    snapshot: SnapshotId
    name: str  # relative to the snapshot's folder
    keys: int
    size: int  # bytes
    volume_size: int | None  # bytes of each volume but the last; None: a folder
    found_keys: int = 0
    found_size: int = 0

    @property
    def place(self) -> str:
        return f"{self.snapshot}/{self.name}"

    @property
    def kept(self) -> bool:
        return (self.found_keys, self.found_size) == (self.keys, self.size)

    @property
    def lack(self) -> str:
        if self.volume_size is None:
            return (
                f"{self.name} has {self.found_keys} keys with {self.found_size} bytes in S3 and "
                f"had {self.keys} with {self.size}"
            )
        if self.keys == 1:
            return f"{self.name} is not in S3 with its {self.size} bytes"
        return (
            f"of {self.name} only {self.found_keys} of {self.keys} volumes are in S3 as they were"
        )

    def tick_off(self, rest: str, size: int) -> None:
        """Count a key of the listing. rest: what follows the place of the promise."""
        if self.volume_size is None:
            if rest.startswith("/"):
                self._count(0 if rest == f"/{_OWN_MANIFEST}" else size)
            return
        number = int(rest[1:]) if rest[1:].isascii() and rest[1:].isdigit() else 0
        left = self.size - (number - 1) * self.volume_size
        is_whole = size == min(left, self.volume_size)
        if 0 < number <= self.keys and rest == volume_key("", number) and is_whole:
            self._count(size)

    def _count(self, size: int) -> None:
        self.found_keys += 1
        self.found_size += size


def _promised(manifest: Manifest) -> Iterator[_Promise]:
    """Yield what must lie in S3 for a manifest. Raises ManifestError if that is nothing."""
    snapshot = manifest.snapshot
    uploaded = [file for file in manifest.files if not file.local_only and file.size]
    for file in uploaded:
        size = manifest.in_s3(file)
        volume_size = file.volume_size or size
        yield _Promise(snapshot, file.name, -(-size // volume_size), size, volume_size)
    if not manifest.files:
        yield _filled(manifest)
    elif not uploaded:
        raise _impossible(manifest, "it names no data in S3")


def _filled(manifest: Manifest) -> _Promise:
    """Return the folder of a snapshot that its server wrote."""
    try:
        own = manifest.facts["chain"][-1]
        name, keys, size = str(own["folder"]), int(own["keys"]), int(own["size"])
    except (LookupError, TypeError, ValueError) as error:
        raise _impossible(manifest, "it names no data in S3") from error
    folder, _, attempt = name.partition("/")
    if folder != str(manifest.snapshot) or not attempt or "/" in attempt or keys < 1:
        raise _impossible(manifest, f"its data cannot be in {name}")
    return _Promise(manifest.snapshot, attempt, keys, size, None)


def _impossible(manifest: Manifest, what: str) -> ManifestError:
    key = layout.manifest_key(manifest.carrier, manifest.snapshot)
    return ManifestError("manifest.malformed", f"{key}: {what}")


def _tick_off(catalog: Catalog, carrier: Carrier, promises: Mapping[str, _Promise]) -> None:
    """Count the keys of the carrier's data with the promises that they keep."""
    start = len(f"{layout.DATA}/{layout.path(carrier)}/")
    for found in catalog.bucket.all_keys(f"{layout.DATA}/{layout.path(carrier)}/"):
        snapshot, _, rest = found.key[start:].partition("/")
        attempt, _, within = rest.partition("/")
        if within:
            promise, rest = promises.get(f"{snapshot}/{attempt}"), f"/{within}"
        else:
            name, _, number = rest.rpartition(".")
            promise, rest = promises.get(f"{snapshot}/{name}"), f".{number}"
        if promise is not None and rest != f"/{_LOCK}":
            promise.tick_off(rest, found.size)
