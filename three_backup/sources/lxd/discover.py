"""Lists instances and custom volumes: three calls of the client, one more a pool, one of `zfs`.

Of a cluster, what lies on this host is listed; each pool takes one call more.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier, ObjectId, can_match_below, escape, selected
from three_backup.sources.base import Found, Unreadable
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import Client
from three_backup.sources.lxd.daemon.names import VOLUME
from three_backup.sources.lxd.datasets.points import joined

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
    below: Mapping[str, Sequence[str]] = field(default_factory=lambda: defaultdict(list))


def discover(client: Client, patterns: Sequence[str]) -> Iterator[Found | Unreadable]:
    """Yield every instance and custom volume that a pattern selects, unsupported ones too."""
    source_type, pools = client.daemon.type, client.get(_POOLS)
    reached = [
        (_as_here(client, pool), below)
        for pool in pools
        if (below := _below(source_type, pool, patterns))
    ]
    instances = [instance for instance in client.get(_INSTANCES) if client.is_here(instance)]
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


def _as_here(client: Client, pool: Json) -> Json:
    """Return a pool with the configuration that it has on this host of a cluster."""
    if pool.get("locations", ["none"]) == ["none"]:
        return pool
    found: Json = client.get(f"/1.0/storage-pools/{quote(pool['name'], safe='')}")
    return found


def _all_datasets(client: Client, pools: Sequence[Json]) -> Datasets | None:
    """Return the datasets of all pools by one call; None if it fails.

    Then each pool is asked by itself, so that one broken pool fails alone.
    """
    source_type = client.daemon.type
    try:
        roots = [names.root(source_type, pool) for pool in pools if pool["driver"] == _ZFS]
        return _datasets(client, roots, source_type) if roots else {}
    except BackupError:
        return None


def _datasets(client: Client, roots: Sequence[str], about: str) -> Datasets:
    rows = client.zfs((*_DATASETS, *roots), about)
    return {dataset: (zfs_type, int(size), guid) for dataset, zfs_type, size, guid in rows}


def _read(
    client: Client, pool: Json, instances: Sequence[Json], datasets: Datasets | None
) -> _Pool:
    name, driver = pool["name"], pool["driver"]
    own = [instance for instance in instances if _root_pool(instance) == name]
    listed = client.get(_VOLUMES.format(quote(name, safe="")))
    volumes = [volume for volume in listed if client.is_here(volume)]
    if driver != _ZFS:
        return _Pool(name, driver, "", own, volumes)
    root = names.root(client.daemon.type, pool)
    if datasets is None:
        datasets = _datasets(client, [root], f"{client.daemon.type}: pool {name}")
    return _Pool(name, driver, root, own, volumes, datasets, _below_each(datasets))


def _below_each(datasets: Datasets) -> Mapping[str, Sequence[str]]:
    """Return the datasets right below each."""
    below = defaultdict(list)
    for dataset in datasets:
        below[dataset.rpartition("/")[0]].append(dataset)
    return below


def _root_pool(instance: Json) -> str | None:
    devices = instance["expanded_devices"].values()
    disks = (device for device in devices if device["type"] == "disk")
    return next((disk.get("pool") for disk in disks if disk.get("path") == "/"), None)


def _objects(source_type: str, pool: _Pool) -> Iterator[Found]:
    points = _points(pool.volumes)
    for instance in pool.instances:
        subtype = names.subtype_of(instance)
        object_id = ObjectId(
            source_type, subtype, pool.name, instance["project"], instance["name"]
        )
        if not names.is_ours(object_id.level3):
            yield _found(pool, object_id, names.KINDS[subtype], points)
    for volume in pool.volumes:
        object_id = ObjectId(source_type, VOLUME, pool.name, volume["project"], volume["name"])
        ours = names.is_ours(object_id.level3)
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
    below = [name for dataset in datasets for name in pool.below[dataset]]
    unsupported = _why_unsupported(pool, kind, listed, below)
    if unsupported:
        refused = {"kind": kind, "unsupported": unsupported}
        return Found(object_id, None, Carrier(object_id), refused)
    own = points.get((names.TYPES[object_id.subtype], object_id.level2, object_id.level3), ())
    guid = joined(guid for _, _, guid in listed) or None
    facts = {"kind": kind, "guid": guid, "points": sorted(own)}
    size = sum(size for _, size, _ in listed) if listed else None
    return Found(object_id, size, Carrier(object_id), facts)


def _why_unsupported(
    pool: _Pool, kind: str, datasets: Sequence[tuple[str, int, str]], below: Sequence[str]
) -> str | None:
    if pool.driver != _ZFS:
        return f"pool {pool.name} is {pool.driver}; only pools on ZFS are backed up yet"
    return names.why_unsupported(kind, datasets[0][0] if datasets else None, below)
