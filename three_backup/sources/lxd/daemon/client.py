"""Speaks to LXD or Incus through `lxc query` or `incus query`, and to ZFS through `zfs`.

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
from three_backup.sources.lxd.daemon import failures, names
from three_backup.sources.lxd.daemon.daemons import DAEMONS, Daemon
from three_backup.sources.lxd.daemon.failures import NotFoundError, NotZfsError

_ZFS = ("zfs", "/usr/sbin/zfs", "/sbin/zfs")
_REMOTE = "local:"
_BELOW_ASTRAL = re.compile("[\x7f-\uffff]")
_FAILED = "client.failed"
_LONGEST_PLAIN_KEY = 1000


class Client:
    """A daemon of this host with its pools. Names of objects belong to its projects and pools."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._roots: dict[str, str] = {}
        self._environment: Mapping[str, Any] = {}

    def get(self, path: str, about: str = "") -> Any:
        """Return what the API has at a path. Raises NotFoundError."""
        return json.loads(self._run(("query", self._here("GET", path)), about))

    def names_beside(self, object_id: ObjectId) -> frozenset[str]:
        """Return the names of all instances, or volumes of the pool, in the object's project."""
        path = names.in_project(names.collection(object_id), object_id.level2)
        return frozenset(map(names.last_of, self.get(path, str(object_id))))

    def send(self, method: str, path: str, body: Mapping[str, Any] | None, about: str) -> None:
        """Send a change and wait until it is made.

        body: short, as the kernel limits an argument; no secrets, as other users can see argv.
        """
        given = () if body is None else ("--data", json.dumps(body))
        self._run(
            ("query", "--wait", "--request", method, *given, self._here(method, path)), about
        )

    def configure(self, object_id: ObjectId, configuration: Mapping[str, Any]) -> None:
        """Replace the whole configuration of an instance or custom volume, whatever its length."""
        argv = (*names.edit(object_id, _REMOTE), f"--project={object_id.level2}")
        self._run(argv, str(object_id), as_yaml(configuration))

    def set_keys(self, instance: ObjectId, keys: Mapping[str, str]) -> None:
        """Set keys of an instance; an empty value removes the key. keys: as for send()."""
        argv = ("config", "set", f"{_REMOTE}{instance.level3}", f"--project={instance.level2}")
        self._run((*argv, *(f"{key}={value}" for key, value in keys.items())), str(instance))

    def rename(self, object_id: ObjectId, name: str) -> None:
        self.send("POST", names.url(object_id), {"name": name}, str(object_id))

    def zfs(self, argv: Sequence[str], about: str) -> list[list[str]]:
        """Run `zfs` and return rows of columns."""
        with self._explained(about):
            printed = command.run(self._zfs(argv))
        return [line.split("\t") for line in printed.splitlines()]

    @contextmanager
    def read_zfs(self, argv: Sequence[str], about: str) -> Iterator[BufferedIOBase]:
        """Open what `zfs` writes; the last read raises BackupError if `zfs` failed."""
        with self._explained(about), command.stream(self._zfs(argv)) as readable:
            yield readable

    def feed_zfs(self, argv: Sequence[str], pieces: Iterable[bytes], about: str) -> None:
        with self._explained(about):
            command.feed(self._zfs(argv), pieces)

    def pipe_zfs(self, left: Sequence[str], right: Sequence[str], about: str) -> None:
        with self._explained(about):
            command.pipe(self._zfs(left), self._zfs(right))

    def root(self, pool: str) -> str:
        """Return the dataset of a pool. Raises BackupError if there is no such pool on ZFS."""
        if pool not in self._roots:
            self._roots[pool] = self._find_root(pool)
        return self._roots[pool]

    def datasets(self, object_id: ObjectId) -> dict[str, str]:
        """Return the datasets of an object, by the names of their streams."""
        return names.datasets(self.root(object_id.level1), object_id)

    def server(self) -> str:
        """Return names and versions of the daemon and ZFS, for manifests."""
        environment = self._asked()
        drivers = {
            driver["Name"]: driver["Version"]
            for driver in environment["storage_supported_drivers"]
        }
        return f"{self.daemon.name} {environment['server_version']}, ZFS {drivers['zfs']}"

    def member(self) -> str | None:
        """Return what a cluster calls this host; None if the daemon is not clustered."""
        environment = self._asked()
        return environment["server_name"] if environment["server_clustered"] else None

    def is_here(self, found: Mapping[str, Any]) -> bool:
        """Return whether what the daemon lists lies on this host, not on another member."""
        location = found.get("location", "")
        return location in ("", "none") or location == self.member()

    def _asked(self) -> Mapping[str, Any]:
        """Return what the daemon says of itself; it is asked once."""
        if not self._environment:
            self._environment = self.get("/1.0")["environment"]
        return self._environment

    def _here(self, method: str, path: str) -> str:
        """Return the address of a request: of a cluster, this host is asked."""
        if names.for_member(method, path) and (name := self.member()) is not None:
            path += f"{'&' if '?' in path else '?'}target={quote(name, safe='')}"
        return f"{_REMOTE}{path}"

    def _find_root(self, pool: str) -> str:
        about = f"{self.daemon.type}: pool {pool}"
        try:
            found = self.get(f"/1.0/storage-pools/{quote(pool, safe='')}", about)
        except NotFoundError as error:
            raise BackupError(
                f"{self.daemon.type}.no_pool",
                f"{about}: there is none",
                "create it, or restore into another one with tb-restore --level1",
            ) from error
        if found["driver"] != "zfs":
            raise NotZfsError(
                f"{self.daemon.type}.not_zfs",
                f"{about}: it is {found['driver']}, and only ZFS is supported yet",
            )
        return names.root(self.daemon.type, found)

    def _run(self, argv: Sequence[str], about: str, given: str | None = None) -> str:
        programs = self.daemon.programs
        found = next((found for name in programs if (found := which(name))), programs[0])
        program = self._program(found, argv, self.daemon.package)
        try:
            return command.run(program, given)
        except BackupError as error:
            if error.code != _FAILED:
                raise
            about = about or self.daemon.type
            raise failures.of_client(self.daemon, about, error.message) from error

    def _zfs(self, argv: Sequence[str]) -> Program:
        zfs = next((found for name in _ZFS if (found := which(name))), _ZFS[0])
        return self._program(zfs, argv, "zfsutils-linux")

    def _program(self, program: str, argv: Sequence[str], package: str) -> Program:
        source = self.daemon.type
        return Program((program, *argv), code=_FAILED, package=package, source=source)

    @contextmanager
    def _explained(self, about: str) -> Iterator[None]:
        try:
            yield
        except BackupError as error:
            if error.code != _FAILED:
                raise
            raise failures.of_zfs(self.daemon, about, error.message) from error


@cache
def client_of(object_type: str) -> Client:
    """Return the client of the daemon whose objects have the type."""
    return Client(DAEMONS[object_type])


def as_yaml(value: object) -> str:
    """Return YAML that is JSON too, unless a key is too long to stand without a mark of its own.

    YAML takes no pairs of surrogates, so astral characters stay as they are. It takes no
    unprintable characters either, so all others from DEL on are escaped.
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)}: {as_yaml(below)}' for key, below in value.items())}}}"
    text = json.dumps(value, ensure_ascii=False)
    return _BELOW_ASTRAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _key(key: str) -> str:
    text = as_yaml(key)
    return text if len(text) <= _LONGEST_PLAIN_KEY else f"? {text} "
