"""A custom volume being restored: how it is made, configured and given its name."""

from collections.abc import Iterator, Mapping
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Wanted
from three_backup.sources.lxd import client, names, project
from three_backup.sources.lxd.container import MARK
from three_backup.sources.lxd.project import Config


class Volume:
    """facts: of the manifest."""

    def __init__(self, wanted: Wanted, facts: Mapping[str, Any], without_devices: bool) -> None:
        self._target = wanted.target
        self._stored = facts["configuration"]
        self._project: Config = {}

    @property
    def is_filesystem(self) -> bool:
        return bool(self._stored["content_type"] == "filesystem")

    def check(self) -> Iterator[str]:
        """Raises BackupError for a name that none can have, and where the project has none."""
        names.check(self._target)
        self._project = project.config_of(self._target)
        project.check_volumes(self._target, self._project)
        yield from ()

    def check_allowed(self) -> None:
        """Nothing of a volume is low level."""

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
        """Nothing of it is its alone."""

    def give_away(self, aside: ObjectId) -> None:
        """Nothing."""

    def take_back(self) -> None:
        """Nothing was given away."""

    def create(self, unfinished: ObjectId) -> None:
        """Files have their quota last, since what changed between two snapshots counts too until
        it is dropped; only a project that limits disks demands it now."""
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
        client.send("PUT", names.url(unfinished), wanted, str(self._target))

    def finish(self) -> Iterator[str]:
        """Nothing is left to do."""
        yield from ()
