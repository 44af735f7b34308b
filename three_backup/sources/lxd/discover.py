"""Lists containers and custom volumes: three calls of `lxc`, one more a pool, and one of `zfs`.

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
from three_backup.sources.lxd import client, names
from three_backup.sources.lxd.names import CONTAINER, TYPE, VOLUME

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


def discover(patterns: Sequence[str]) -> Iterator[Found | Unreadable]:
    """Yield every container and custom volume that a pattern selects, unsupported ones too."""
    reached = [
        (_as_here(pool), below) for pool in client.get(_POOLS) if (below := _below(pool, patterns))
    ]
    instances = [instance for instance in client.get(_INSTANCES) if client.is_here(instance)]
    datasets = _all_datasets([pool for pool, _ in reached])
    for pool, below in reached:
        try:
            found = _read(pool, instances, datasets)
        except BackupError as error:
            yield from (Unreadable(prefix, error) for prefix in below)
            continue
        for listed in _objects(found):
            if selected(patterns, str(listed.id)):
                yield listed


def _below(pool: Json, patterns: Sequence[str]) -> list[str]:
    """Return the beginnings of the pool's ids below which a pattern can select objects."""
    prefixes = (f"{TYPE}/{subtype}/{escape(pool['name'])}" for subtype in (CONTAINER, VOLUME))
    return [
        prefix
        for prefix in prefixes
        if not patterns or any(can_match_below(pattern, prefix) for pattern in patterns)
    ]


def _is_clustered(pool: Json) -> bool:
    return bool(pool.get("locations", ["none"]) != ["none"])


def _as_here(pool: Json) -> Json:
    """Return a pool with the configuration that it has on this host."""
    if not _is_clustered(pool):
        return pool
    found: Json = client.get(f"/1.0/storage-pools/{quote(pool['name'], safe='')}")
    return found


def _all_datasets(pools: Sequence[Json]) -> Datasets | None:
    """Return the datasets of all pools by one call; None if it fails.

    Then each pool is asked by itself, so that one broken pool fails alone.
    """
    try:
        roots = [names.root(pool) for pool in pools if pool["driver"] == _ZFS]
        return _datasets(roots, TYPE) if roots else {}
    except BackupError:
        return None


def _datasets(roots: Sequence[str], about: str) -> Datasets:
    rows = client.zfs((*_DATASETS, *roots), about)
    return {dataset: (zfs_type, int(size), guid) for dataset, zfs_type, size, guid in rows}


def _read(pool: Json, instances: Sequence[Json], datasets: Datasets | None) -> _Pool:
    name, driver = pool["name"], pool["driver"]
    own = [instance for instance in instances if _root_pool(instance) == name]
    listed = client.get(_VOLUMES.format(quote(name, safe="")))
    volumes = [volume for volume in listed if client.is_here(volume)]
    if driver != _ZFS:
        return _Pool(name, driver, "", own, volumes)
    root = names.root(pool)
    if datasets is None:
        datasets = _datasets([root], f"{TYPE}: pool {name}")
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


def _objects(pool: _Pool) -> Iterator[Found]:
    points = _points(pool.volumes)
    for instance in pool.instances:
        if not instance["name"].startswith(names.RESTORING):
            kind = instance["type"].replace("-", " ")
            object_id = ObjectId(TYPE, CONTAINER, pool.name, instance["project"], instance["name"])
            yield _found(
                pool, object_id, kind, points[CONTAINER, object_id.level2, object_id.level3]
            )
    for volume in pool.volumes:
        ours = volume["name"].startswith(names.RESTORING)
        if volume["type"] == "custom" and "/" not in volume["name"] and not ours:
            object_id = ObjectId(TYPE, VOLUME, pool.name, volume["project"], volume["name"])
            points_of = points["custom", object_id.level2, object_id.level3]
            yield _found(pool, object_id, f"{volume['content_type']} volume", points_of)


def _points(volumes: Sequence[Json]) -> dict[tuple[str, str, str], list[str]]:
    """Return our points by type, project and name of the volume. LXD lists points as volumes."""
    points = defaultdict(list)
    for volume in volumes:
        name, _, own = volume["name"].partition("/")
        snapshot = names.snapshot_of(own)
        if snapshot is not None:
            points[volume["type"], volume["project"], name].append(str(snapshot))
    return points


def _found(pool: _Pool, object_id: ObjectId, kind: str, points: Sequence[str]) -> Found:
    dataset = names.dataset(pool.root, object_id)
    zfs_type, size, guid = pool.datasets.get(dataset, (None, None, None))
    unsupported = _why_unsupported(pool, kind, zfs_type, pool.below[dataset])
    if unsupported:
        refused = {"kind": kind, "unsupported": unsupported}
        return Found(object_id, None, Carrier(object_id), refused)
    facts = {"kind": kind, "guid": guid, "points": sorted(points)}
    return Found(object_id, size, Carrier(object_id), facts)


def _why_unsupported(
    pool: _Pool, kind: str, zfs_type: str | None, below: Sequence[str]
) -> str | None:
    if pool.driver != _ZFS:
        return f"pool {pool.name} is {pool.driver}; only pools on ZFS are backed up yet"
    return names.why_unsupported(kind, zfs_type, below)
