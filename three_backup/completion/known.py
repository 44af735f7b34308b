"""Finds the carriers and snapshots that this host stores or remembers; no server is asked."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from three_backup.catalog.cache import folder_of
from three_backup.config import Configuration
from three_backup.model import layout
from three_backup.model.objects import LEVELS, Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.sources import SOURCES
from three_backup.watching import last_run

_MANIFEST = "manifest.json"
_SUFFIX = ".json"


@dataclass(slots=True)
class Known:
    """The objects and the snapshots that are known here."""

    ids: set[str] = field(default_factory=set)
    # The manifests of snapshots that many objects share, by carrier and snapshot.
    shared: dict[Carrier, dict[SnapshotId, Path]] = field(default_factory=dict)


def known(configuration: Configuration) -> Known:
    """Return all that is known of the storages of the configuration and of its last run."""
    found = Known()
    for root in roots(configuration):
        for source in SOURCES:
            _walk(found, root / source.type, root, 1)
    for manifests in found.shared.values():
        newest = max(manifests, key=lambda snapshot: snapshot.time)
        found.ids.update(_objects(manifests[newest]))
    last = last_run.read(configuration.run.local_dir)
    found.ids.update(filter(lambda carrier: carrier.is_object, last.carriers if last else ()))
    # What somebody else wrote into a manifest must not steer the terminal.
    found.ids = set(filter(str.isprintable, found.ids))
    return found


def roots(configuration: Configuration) -> list[Path]:
    """Return the folders below which carriers lie: of snapshots, and of cached manifests."""
    found: dict[Path, None] = {}
    for storage in configuration.storages():
        found[storage.local_dir] = None
        found[folder_of(storage) / layout.MANIFESTS] = None
    return list(found)


def snapshots(configuration: Configuration, named: Iterable[str]) -> list[SnapshotId]:
    """Return the known snapshots of the named objects, newest first; without any, shared ones."""
    carriers = [Carrier(name) for name in named]
    all_roots = roots(configuration)
    found = {
        snapshot
        for carrier in carriers
        if carrier.is_object
        for root in all_roots
        for snapshot in _in(root / layout.path(carrier))
    }
    types = {carrier.type for carrier in carriers}
    for carrier, manifests in known(configuration).shared.items():
        if not types or carrier.type in types:
            found.update(manifests)
    return sorted(found, key=lambda snapshot: snapshot.time, reverse=True)


def _walk(found: Known, folder: Path, root: Path, depth: int) -> None:
    """Collect the carriers below folder. depth: how many names its path has."""
    entries = _entries(folder)
    snapshots = {
        snapshot: path for entry in entries for snapshot, path in _manifest(entry).items()
    }
    if snapshots:
        carrier = Carrier(layout.name(os.path.relpath(folder, root)))
        found.shared.setdefault(carrier, {}).update(snapshots)
        return
    for entry in entries:
        if not entry.is_dir():
            continue
        path, deeper = Path(entry.path), depth + (not entry.name.endswith("="))
        if deeper < LEVELS or entry.name.endswith("="):  # a long name goes on there
            _walk(found, path, root, deeper)
        else:
            found.ids.add(layout.name(os.path.relpath(path, root)))


def _manifest(entry: "os.DirEntry[str]") -> Mapping[SnapshotId, Path]:
    """Return the snapshot that lies in the folder, or whose cached manifest this is."""
    snapshot = SnapshotId.parse(entry.name.removesuffix(_SUFFIX))
    if snapshot is None:
        return {}
    path = Path(entry.path)
    return {snapshot: path if path.suffix == _SUFFIX else path / _MANIFEST}


def _in(folder: Path) -> Iterator[SnapshotId]:
    for entry in _entries(folder):
        yield from _manifest(entry)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        return list(os.scandir(folder))
    except OSError:
        return []


def _objects(manifest: Path) -> list[str]:
    try:
        return [str(carried["id"]) for carried in json.loads(manifest.read_bytes())["objects"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
