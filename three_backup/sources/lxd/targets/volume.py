"""Checks, creates and configures a custom volume that is being restored."""

from collections.abc import Iterator, Mapping
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Wanted
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.client import client_of
from three_backup.sources.lxd.daemon.failures import SizeError
from three_backup.sources.lxd.datasets import points
from three_backup.sources.lxd.targets import project
from three_backup.sources.lxd.targets.instance import MARK
from three_backup.sources.lxd.targets.restrictions import Config

_FREE_TEXT = "user."
"""Beginning of the keys whose values have any length."""


class RestoredVolume:
    """A custom volume that is being restored. facts: of the manifest."""

    def __init__(self, wanted: Wanted, facts: Mapping[str, Any], *, without_devices: bool) -> None:
        self._target = wanted.target
        self._client = client_of(wanted.target.type)
        self._stored = facts["configuration"]
        self._project: Config = {}
        self._size: int | None = None  # the size it got where its own was too small

    def check(self) -> Iterator[str]:
        """Check name and project; there are no notes.

        Raises BackupError for a name that no volume can have, or a project without volumes of
        its own.
        """
        names.check(self._target)
        self._project = project.config_of(self._target)
        project.check_volumes(self._target, self._project)
        yield from ()

    def check_allowed(self) -> None:
        """Volumes have no low-level keys to forbid."""

    def check_replaceable(self) -> None:
        if used_by := self._client.get(names.url(self._target))["used_by"]:
            users = ", ".join(map(names.last_of, used_by))
            raise BackupError(
                f"{self._target.type}.attached",
                f"{self._target}: it is attached to {users}, and would be replaced",
                f"detach it first ({self._client.daemon.client} storage volume detach), or "
                "restore beside it with --level3-suffix",
            )

    def part(self) -> None:
        """Volumes have no MAC or address to free."""

    def give_away(self, aside: ObjectId) -> None:
        """Volumes have nothing to give away."""

    def take_back(self) -> None:
        """Volumes gave nothing away."""

    def create(self, unfinished: ObjectId) -> None:
        """Create the volume; a file system gets its quota only from configure(), free text too.

        Until the snapshots are dropped, what changed between two of them counts against a quota.
        Only a project that limits disks demands the quota at once.
        """
        is_block = self._stored["content_type"] == "block"
        is_unbounded = not is_block and not project.disk_limits(self._target, self._project)
        config = self._stored["config"].items()
        body = {
            "name": unfinished.level3,
            "content_type": self._stored["content_type"],
            "config": {
                **{key: value for key, value in config if not key.startswith(_FREE_TEXT)},
                **({"size": "0"} if is_unbounded else {}),
                MARK: str(self._target),
            },
        }
        path = names.in_project(names.collection(unfinished), unfinished.level2)
        self._client.send("POST", path, body, str(self._target))

    def configure(self, unfinished: ObjectId) -> None:
        wanted = {name: self._stored[name] for name in ("config", "description")}
        try:
            self._client.configure(unfinished, wanted)
        except SizeError:
            self._size = points.sufficient_size(unfinished)
            config = {**wanted["config"], "size": str(self._size)}
            self._client.configure(unfinished, {**wanted, "config": config})

    def finish(self) -> Iterator[str]:
        """Volumes need no last step; yield a note if the size had to be changed."""
        if self._size is not None:
            yield points.SIZE_CHANGED.format(self._size)
