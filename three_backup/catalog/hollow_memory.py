"""Remembers on this host which snapshots were found hollow, so that most tools need not ask S3."""

import json
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from three_backup.catalog.cache import folder_of
from three_backup.host.durable import write_durably
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.model.storage import Storage


class HollowMemory:
    """The snapshots of a storage that were found hollow when its carriers were last rotated."""

    def __init__(self, storage: Storage) -> None:
        self._folder = folder_of(storage) / "hollow"

    def of(self, carrier: Carrier) -> dict[SnapshotId, str]:
        """Return the hollow snapshots of a carrier, oldest first, each with what it lacks."""
        if not self._any:
            return {}
        try:
            lacks = json.loads(self._path(carrier).read_bytes())["snapshots"]
            found = {SnapshotId.parse(name): str(lack) for name, lack in lacks.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # the next rotation that removes something looks again
        known = {snapshot: lack for snapshot, lack in found.items() if snapshot is not None}
        return dict(sorted(known.items()))

    def remember(self, carrier: Carrier, hollow: Mapping[SnapshotId, str]) -> None:
        path = self._path(carrier)
        if not hollow:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lacks = {str(snapshot): lack for snapshot, lack in hollow.items()}
        write_durably(path, json.dumps({"v": 1, "snapshots": lacks}).encode() + b"\n")
        self._any = True

    @cached_property
    def _any(self) -> bool:
        """Whether there is any: ten thousand carriers are asked for."""
        with suppress(PermissionError):  # a user who may only read goes without
            return self._folder.is_dir()
        return False

    def _path(self, carrier: Carrier) -> Path:
        return self._folder / f"{layout.path(carrier)}.json"


def filled(snapshots: Iterable[Stored], hollow: Container[SnapshotId]) -> list[Stored]:
    """Return the snapshots without the copies in S3 of those that are hollow."""
    lying = (stored._replace(s3=False) if stored.id in hollow else stored for stored in snapshots)
    return [stored for stored in lying if stored.local or stored.s3]


def sentence_on(hollow: Mapping[SnapshotId, str]) -> str:
    """Name the hollow snapshots, at least one, oldest first, and what the newest lacks."""
    newest, lack = list(hollow.items())[-1]
    others = f" and {len(hollow) - 1} before it are" if len(hollow) > 1 else " is"
    return f"{newest}{others} hollow: {lack}"
