"""The datasets that the daemon made for what is restored: streams are received into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import SnapshotId
from three_backup.sources.lxd import names
from three_backup.sources.lxd.client import Client

_RECEIVE = ("receive", "-u", "-F")
_GET = ("get", "-Hp", "-o", "name,property,value,source", "all")
_QUOTA = re.compile(r"(?:ref)?(?:quota|reservation)")
_NOT_GIVEN = re.compile(rf"{_QUOTA.pattern}|vol(?:size|blocksize)|encryption|key.*|pbkdf2.*")
"""Properties that no received dataset gets: they come with the stream, or from set_quotas()."""


@dataclass(frozen=True, slots=True)
class Made:
    """A dataset that the daemon made."""

    stream: str  # the name of the stream that it shall receive
    dataset: str
    properties: Mapping[str, str]  # those that the daemon set
    client: Client
    about: str

    def receiving(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the arguments with which `zfs` receives a stream of the snapshot."""
        given = (
            f"{name}={value}"
            for name, value in self.properties.items()
            if not _NOT_GIVEN.fullmatch(name)
        )
        options = (word for pair in given for word in ("-o", pair))
        return (*_RECEIVE, *options, f"{self.dataset}@{names.point(snapshot)}")

    def destroy(self) -> None:
        self.client.zfs(("destroy", self.dataset), self.about)

    def lift_quotas(self) -> None:
        """Take the quotas away: snapshots count against them while they are received."""
        if quotas := self._quotas():
            lifted = (f"{name}=none" for name in quotas)
            self.client.zfs(("set", *lifted, self.dataset), self.about)

    def set_quotas(self) -> None:
        """Set the quotas as the daemon made them."""
        if quotas := self._quotas():
            given = (f"{name}={value}" for name, value in quotas.items())
            self.client.zfs(("set", *given, self.dataset), self.about)

    def _quotas(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.properties.items()
            if _QUOTA.fullmatch(name) and value != "0"
        }


def made_for(
    client: Client, unfinished: ObjectId, target: ObjectId, *, is_block: bool
) -> list[Made]:
    """Return the datasets of what the daemon made for a target, the one of its data first.

    is_block: whether its data must be in a zvol. Raises BackupError if a dataset is missing, or
    is a zvol for files: ZFS would make a new one, and the daemon would go on with its own, an
    empty one.
    """
    datasets = client.datasets(unfinished)
    rows = client.zfs((*_GET, *datasets.values()), str(target))
    types = {name: value for name, key, value, _ in rows if key == "type"}
    wanted = {
        dataset: "volume" if is_block and stream == STREAM else "filesystem"
        for stream, dataset in datasets.items()
    }
    if types != wanted:
        raise BackupError(
            f"{target.type}.block_mode",
            f"{target}: pool {target.level1} has zvols for files (zfs.block_mode)",
            f"have it otherwise meanwhile: {client.daemon.client} storage unset "
            f"{target.level1} volume.zfs.block_mode",
        )
    local = [(name, key, value) for name, key, value, source in rows if source == "local"]
    return [
        Made(
            stream,
            dataset,
            {key: value for name, key, value in local if name == dataset},
            client,
            str(target),
        )
        for stream, dataset in datasets.items()
    ]
