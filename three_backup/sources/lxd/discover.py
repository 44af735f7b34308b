"""Lists instances and custom volumes: two calls of the client, one more a pool, one of `zfs`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier, ObjectId, can_match_below, escape, selected
from three_backup.sources.base import Found, Unreadable
from three_backup.sources.lxd import names
from three_backup.sources.lxd.client import Client
from three_backup.sources.lxd.names import VOLUME
from three_backup.sources.lxd.points import joined

_POOLS = "/1.0/storage-pools?recursion=1"
_INSTANCES = "/1.0/instances?recursion=1&all-projects=true"
_VOLUMES = "/1.0/storage-pools/{}/volumes?recursion=1&all-projects=true"
_DATASETS = ("list", "-Hp", "-r", "-t", "filesystem,volume", "-o", "name,type,referenced,guid")
_ZFS = "zfs"

Json = Mapping[str, Any]
Datasets = Mapping[str, tuple[str, int, str]]
"""Type, size in bytes and guid of datasets, by name."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """A pool with what is in it."""

    name: str
    driver: str
    root: str  # its dataset, empty if it is not on ZFS
    instances: Sequence[Json]
    volumes: Sequence[Json]
    datasets: Datasets = field(default_factory=dict)  # maybe those of other pools too


def discover(client: Client, patterns: Sequence[str]) -> Iterator[Found | Unreadable]:
    """Yield every instance and custom volume that a pattern selects, unsupported ones too."""
    source_type, pools = client.daemon.type, client.get(_POOLS)
    reached = [(pool, below) for pool in pools if (below := _below(source_type, pool, patterns))]
    instances = client.get(_INSTANCES)
    datasets = _all_datasets(client, [pool for pool, _ in reached])
    for pool, below in reached:
        try:
            found = _read(client, pool, instances, datasets)
        except BackupError as error:
            yield from (Unreadable(prefix, error) for prefix in below)
            continue
        for listed in _objects(source_type, found):
            if selected(patterns, str(listed.id)):
                yield listed


def _below(source_type: str, pool: Json, patterns: Sequence[str]) -> list[str]:
    """Return the beginnings of the pool's ids below which a pattern can select objects."""
    name = escape(pool["name"])
    prefixes = (f"{source_type}/{subtype}/{name}" for subtype in names.TYPES)
    return [
        prefix
        for prefix in prefixes
        if not patterns or any(can_match_below(pattern, prefix) for pattern in patterns)
    ]


def _all_datasets(client: Client, pools: Sequence[Json]) -> Datasets | None:
    """Return the datasets of all pools by one call; None if it fails.

    Then each pool is asked by itself, so that one broken pool fails alone.
    """
    roots = [_root(pool) for pool in pools if pool["driver"] == _ZFS]
    try:
        return _datasets(client, roots, client.daemon.type) if roots else {}
    except BackupError:
        return None


def _datasets(client: Client, roots: Sequence[str], about: str) -> Datasets:
    rows = client.zfs((*_DATASETS, *roots), about)
    return {dataset: (zfs_type, int(size), guid) for dataset, zfs_type, size, guid in rows}


def _root(pool: Json) -> str:
    return str(pool["config"]["zfs.pool_name"])


def _read(
    client: Client, pool: Json, instances: Sequence[Json], datasets: Datasets | None
) -> _Pool:
    name, driver = pool["name"], pool["driver"]
    own = [instance for instance in instances if _root_pool(instance) == name]
    volumes = client.get(_VOLUMES.format(quote(name, safe="")))
    if driver != _ZFS:
        return _Pool(name, driver, "", own, volumes)
    root = _root(pool)
    if datasets is None:
        datasets = _datasets(client, [root], f"{client.daemon.type}: pool {name}")
    return _Pool(name, driver, root, own, volumes, datasets)


def _root_pool(instance: Json) -> str | None:
    devices = instance["expanded_devices"].values()
    disks = (device for device in devices if device["type"] == "disk")
    return next((disk.get("pool") for disk in disks if disk.get("path") == "/"), None)


def _objects(source_type: str, pool: _Pool) -> Iterator[Found]:
    points = _points(pool.volumes)
    subtypes = {api_type: subtype for subtype, api_type in names.TYPES.items()}
    for instance in pool.instances:
        subtype = subtypes[instance["type"]]
        object_id = ObjectId(
            source_type, subtype, pool.name, instance["project"], instance["name"]
        )
        if not object_id.level3.startswith(names.RESTORING):
            yield _found(pool, object_id, names.KINDS[subtype], points)
    for volume in pool.volumes:
        object_id = ObjectId(source_type, VOLUME, pool.name, volume["project"], volume["name"])
        ours = object_id.level3.startswith(names.RESTORING)
        if volume["type"] == "custom" and "/" not in object_id.level3 and not ours:
            yield _found(pool, object_id, f"{volume['content_type']} volume", points)


def _points(volumes: Sequence[Json]) -> dict[tuple[str, str, str], list[str]]:
    """Return our points by type, project and name of the volume: the API lists them as volumes."""
    points = defaultdict(list)
    for volume in volumes:
        name, _, own = volume["name"].partition("/")
        snapshot = names.snapshot_of(own)
        if snapshot is not None:
            points[volume["type"], volume["project"], name].append(str(snapshot))
    return points


def _found(
    pool: _Pool, object_id: ObjectId, kind: str, points: Mapping[tuple[str, str, str], list[str]]
) -> Found:
    datasets = names.datasets(pool.root, object_id).values()
    listed = [pool.datasets[dataset] for dataset in datasets if dataset in pool.datasets]
    unsupported = _why_unsupported(pool, kind, listed)
    if unsupported:
        refused = {"kind": kind, "unsupported": unsupported}
        return Found(object_id, None, Carrier(object_id), refused)
    own = points.get((names.TYPES[object_id.subtype], object_id.level2, object_id.level3), ())
    guid = joined(guid for _, _, guid in listed) or None
    facts = {"kind": kind, "guid": guid, "points": sorted(own)}
    size = sum(size for _, size, _ in listed) if listed else None
    return Found(object_id, size, Carrier(object_id), facts)


def _why_unsupported(
    pool: _Pool, kind: str, datasets: Sequence[tuple[str, int, str]]
) -> str | None:
    if pool.driver != _ZFS:
        return f"pool {pool.name} is {pool.driver}; only pools on ZFS are backed up yet"
    return names.files_in_zvol(kind, datasets[0][0] if datasets else None)
