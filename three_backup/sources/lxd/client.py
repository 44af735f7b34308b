"""Speaks to LXD through `lxc query`, and to ZFS through `zfs`: argv in, JSON or columns out.

What may hold a secret, such as the configuration of an instance, goes in by stdin, never in argv.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from io import BufferedIOBase
from shutil import which
from typing import Any
from urllib.parse import quote

from three_backup import command
from three_backup.command import Program
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.lxd import failures, names
from three_backup.sources.lxd.failures import NotFoundError

PROGRAMS = ("lxc", "/snap/bin/lxc")
"""Full paths too, since cron's PATH has neither /snap/bin nor /usr/sbin."""

_ZFS = ("zfs", "/usr/sbin/zfs", "/sbin/zfs")
_REMOTE = "local:"
_BELOW_ASTRAL = re.compile("[\x7f-\uffff]")
_LXC_FAILED = "lxd.lxc"
_ZFS_FAILED = "lxd.zfs"


def get(path: str, about: str = names.TYPE) -> Any:
    """Return what the API has at a path. Raises NotFoundError."""
    return json.loads(_lxc(("query", _here("GET", path)), about))


@cache
def member() -> str | None:
    """Return what a cluster calls this host; None if LXD is not clustered."""
    environment = _environment()
    return environment["server_name"] if environment["server_clustered"] else None


def is_here(found: Mapping[str, Any]) -> bool:
    """Return whether what LXD lists lies on this host, not on another member of a cluster."""
    location = found.get("location", "")
    return location in ("", "none") or location == member()


def names_beside(object_id: ObjectId) -> frozenset[str]:
    """Return the names of all instances, or volumes of the pool, in the object's project."""
    path = names.in_project(names.collection(object_id), object_id.level2)
    return frozenset(map(names.last_of, get(path, str(object_id))))


def send(method: str, path: str, body: Mapping[str, Any] | None, about: str) -> None:
    """Send a change and wait until it is made. body: no secrets, as other users can see argv."""
    given = () if body is None else ("--data", json.dumps(body))
    _lxc(("query", "--wait", "--request", method, *given, _here(method, path)), about)


def configure(container: ObjectId, configuration: Mapping[str, Any]) -> None:
    """Replace the whole configuration of an instance."""
    argv = ("config", "edit", f"{_REMOTE}{container.level3}", "--project", container.level2)
    _lxc(argv, str(container), as_yaml(configuration))


def as_yaml(value: object) -> str:
    """Return JSON that is YAML too.

    YAML takes no pairs of surrogates, so astral characters stay as they are. It takes no
    unprintable characters either, so all others from DEL on are escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    return _BELOW_ASTRAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def set_keys(container: ObjectId, keys: Mapping[str, str]) -> None:
    """Set keys of an instance; an empty value removes the key. keys: no secrets, as for send()."""
    argv = ("config", "set", f"{_REMOTE}{container.level3}", "--project", container.level2)
    _lxc((*argv, *(f"{key}={value}" for key, value in keys.items())), str(container))


def rename(object_id: ObjectId, name: str) -> None:
    send("POST", names.url(object_id), {"name": name}, str(object_id))


def zfs(argv: Sequence[str], about: str) -> list[list[str]]:
    """Run `zfs` and return rows of columns."""
    with _explained(about):
        printed = command.run(_zfs(argv))
    return [line.split("\t") for line in printed.splitlines()]


@contextmanager
def read_zfs(argv: Sequence[str], about: str) -> Iterator[BufferedIOBase]:
    """Open what `zfs` writes; the last read raises BackupError if `zfs` failed."""
    with _explained(about), command.stream(_zfs(argv)) as readable:
        yield readable


def feed_zfs(argv: Sequence[str], pieces: Iterable[bytes], about: str) -> None:
    with _explained(about):
        command.feed(_zfs(argv), pieces)


def pipe_zfs(left: Sequence[str], right: Sequence[str], about: str) -> None:
    with _explained(about):
        command.pipe(_zfs(left), _zfs(right))


@cache
def root(pool: str) -> str:
    """Return the dataset of a pool. Raises BackupError if there is no such pool on ZFS."""
    about = f"{names.TYPE}: pool {pool}"
    try:
        found = get(f"/1.0/storage-pools/{quote(pool, safe='')}", about)
    except NotFoundError as error:
        raise BackupError(
            "lxd.no_pool",
            f"{about}: there is none",
            "create it, or restore into another one with tb-restore --level1",
        ) from error
    if found["driver"] != "zfs":
        raise BackupError(
            "lxd.not_zfs", f"{about}: it is {found['driver']}, and only ZFS is supported yet"
        )
    return names.root(found)


def dataset(object_id: ObjectId) -> str:
    return names.dataset(root(object_id.level1), object_id)


@cache
def server() -> str:
    """Return names and versions of LXD and ZFS, for manifests."""
    environment = _environment()
    drivers = {
        driver["Name"]: driver["Version"] for driver in environment["storage_supported_drivers"]
    }
    return f"LXD {environment['server_version']}, ZFS {drivers['zfs']}"


@cache
def _environment() -> Mapping[str, Any]:
    found: Mapping[str, Any] = get("/1.0")["environment"]
    return found


def _here(method: str, path: str) -> str:
    """Return the address of a request: of a cluster, this host is asked."""
    if names.for_member(method, path) and (name := member()) is not None:
        path += f"{'&' if '?' in path else '?'}target={quote(name, safe='')}"
    return f"{_REMOTE}{path}"


def _lxc(argv: Sequence[str], about: str, given: str | None = None) -> str:
    lxc = next((found for name in PROGRAMS if (found := which(name))), PROGRAMS[0])
    program = Program((lxc, *argv), code=_LXC_FAILED, package="LXD")
    try:
        return command.run(program, given)
    except BackupError as error:
        if error.code != _LXC_FAILED:
            raise
        raise failures.of_lxc(about, error.message) from error


def _zfs(argv: Sequence[str]) -> Program:
    zfs = next((found for name in _ZFS if (found := which(name))), _ZFS[0])
    return Program((zfs, *argv), code=_ZFS_FAILED, package="zfsutils-linux")


@contextmanager
def _explained(about: str) -> Iterator[None]:
    try:
        yield
    except BackupError as error:
        if error.code != _ZFS_FAILED:
            raise
        raise failures.of_zfs(about, error.message) from error
