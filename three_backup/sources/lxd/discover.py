"""Lists containers and custom volumes: two calls of `lxc`, then one and a `zfs` for each pool."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from three_backup.errors import BackupError
from three_backup.objects import ObjectId, can_match_below, escape, selected
from three_backup.sources.base import Found, Unreadable
from three_backup.sources.lxd import client, names
from three_backup.sources.lxd.names import CONTAINER, TYPE, VOLUME

_POOLS = "/1.0/storage-pools?recursion=1"
_INSTANCES = "/1.0/instances?recursion=1&all-projects=true"
_VOLUMES = "/1.0/storage-pools/{}/volumes?recursion=1&all-projects=true"
_DATASETS = ("list", "-Hp", "-r", "-t", "filesystem,volume", "-o", "name,referenced,guid")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Pool:
    """A pool with what is in it. datasets: size and guid, by name."""

    name: str
    driver: str
    root: str
    instances: Sequence[Json]
    volumes: Sequence[Json]
    datasets: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def discover(patterns: Sequence[str]) -> Iterator[Found | Unreadable]:
    """Every container and custom volume that a pattern selects, and what is not supported."""
    pools = client.get(_POOLS)
    instances = client.get(_INSTANCES)
    for pool in pools:
        prefixes = [f"{TYPE}/{subtype}/{escape(pool['name'])}" for subtype in (CONTAINER, VOLUME)]
        wanted = [
            prefix
            for prefix in prefixes
            if not patterns or any(can_match_below(pattern, prefix) for pattern in patterns)
        ]
        try:
            found = _read(pool, instances) if wanted else None
        except BackupError as error:
            yield from (Unreadable(prefix, error) for prefix in wanted)
            continue
        for one in _objects(found) if found else ():
            if selected(patterns, str(one.id)):
                yield one


def _read(pool: Json, instances: Sequence[Json]) -> _Pool:
    name, driver = pool["name"], pool["driver"]
    own = [one for one in instances if _root_pool(one) == name]
    volumes = client.get(_VOLUMES.format(quote(name, safe="")))
    if driver != "zfs":
        return _Pool(name, driver, "", own, volumes)
    root = pool["config"]["zfs.pool_name"]
    rows = client.zfs((*_DATASETS, root), f"{TYPE}: pool {name}")
    datasets = {dataset: (int(size), guid) for dataset, size, guid in rows}
    return _Pool(name, driver, root, own, volumes, datasets)


def _root_pool(instance: Json) -> str | None:
    devices = instance["expanded_devices"].values()
    roots = (one.get("pool") for one in devices if one["type"] == "disk" and one["path"] == "/")
    return next(roots, None)


def _objects(pool: _Pool) -> Iterator[Found]:
    points = _points(pool.volumes)
    for one in pool.instances:
        if not one["name"].startswith(names.RESTORING):
            kind = one["type"].replace("-", " ")
            id = ObjectId(TYPE, CONTAINER, pool.name, one["project"], one["name"])
            yield _found(pool, id, kind, points[CONTAINER, id.level2, id.level3])
    for one in pool.volumes:
        ours = one["name"].startswith(names.RESTORING)
        if one["type"] == "custom" and "/" not in one["name"] and not ours:
            id = ObjectId(TYPE, VOLUME, pool.name, one["project"], one["name"])
            points_of = points["custom", id.level2, id.level3]
            yield _found(pool, id, f"{one['content_type']} volume", points_of)


def _points(volumes: Sequence[Json]) -> dict[tuple[str, str, str], list[str]]:
    """Our snapshots, by type, project and name of the volume: LXD lists them as volumes too."""
    points = defaultdict(list)
    for one in volumes:
        name, _, own = one["name"].partition("/")
        snapshot = names.snapshot_of(own)
        if snapshot is not None:
            points[one["type"], one["project"], name].append(str(snapshot))
    return points


def _found(pool: _Pool, id: ObjectId, kind: str, points: Sequence[str]) -> Found:
    unsupported = _why_unsupported(pool, kind)
    if unsupported:
        return Found(id, None, str(id), {"kind": kind, "unsupported": unsupported})
    size, guid = pool.datasets.get(names.dataset(pool.root, id), (None, None))
    facts = {"kind": kind, "guid": guid, "points": sorted(points)}
    return Found(id, size, str(id), facts)


def _why_unsupported(pool: _Pool, kind: str) -> str | None:
    if pool.driver != "zfs":
        return f"pool {pool.name} is {pool.driver}; only pools on ZFS are backed up yet"
    if kind == "virtual machine":
        return "virtual machines are not backed up yet"
    return None
