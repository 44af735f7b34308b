"""Checks, creates and configures a custom volume that is being restored."""

from collections.abc import Iterator, Mapping
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Wanted
from three_backup.sources.lxd import client, names, points, project
from three_backup.sources.lxd.container import MARK
from three_backup.sources.lxd.failures import SizeError
from three_backup.sources.lxd.project import Config


class RestoredVolume:
    """A custom volume that is being restored. facts: of the manifest."""

    def __init__(self, wanted: Wanted, facts: Mapping[str, Any], *, without_devices: bool) -> None:
        self._target = wanted.target
        self._stored = facts["configuration"]
        self._project: Config = {}
        self._size: int | None = None  # the size it got where its own was too small

    @property
    def is_filesystem(self) -> bool:
        return bool(self._stored["content_type"] == "filesystem")

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
        if used_by := client.get(names.url(self._target))["used_by"]:
            users = ", ".join(map(names.last_of, used_by))
            raise BackupError(
                "lxd.attached",
                f"{self._target}: it is attached to {users}, and would be replaced",
                "detach it first (lxc storage volume detach), or restore beside it with "
                "--level3-suffix",
            )

    def part(self) -> None:
        """Volumes have no MAC or address to free."""

    def give_away(self, aside: ObjectId) -> None:
        """Volumes have nothing to give away."""

    def take_back(self) -> None:
        """Volumes gave nothing away."""

    def create(self, unfinished: ObjectId) -> None:
        """Create the volume; a file system gets its quota only from configure().

        Until the snapshots are dropped, what changed between two of them counts against a quota.
        Only a project that limits disks demands the quota at once.
        """
        is_unbounded = self.is_filesystem and not project.disk_limits(self._target, self._project)
        body = {
            **self._stored,
            "name": unfinished.level3,
            "config": {
                **self._stored["config"],
                **({"size": "0"} if is_unbounded else {}),
                MARK: str(self._target),
            },
        }
        path = names.in_project(names.collection(unfinished), unfinished.level2)
        client.send("POST", path, body, str(self._target))

    def configure(self, unfinished: ObjectId) -> None:
        wanted = {name: self._stored[name] for name in ("config", "description")}
        try:
            client.send("PUT", names.url(unfinished), wanted, str(self._target))
        except SizeError:
            self._size = points.sufficient_size(unfinished)
            config = {**wanted["config"], "size": str(self._size)}
            client.send(
                "PUT", names.url(unfinished), {**wanted, "config": config}, str(self._target)
            )

    def finish(self) -> Iterator[str]:
        """Volumes need no last step; yield a note if the size had to be changed."""
        if self._size is not None:
            yield points.SIZE_CHANGED.format(self._size)
