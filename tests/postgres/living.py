"""A host whose snapshots are older than they are, and one turn of it: discover, plan, snapshot."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from tests.pipeline.conftest import Host
from three_backup.demo.servers import PostgresServer, SeaweedServer
from three_backup.local import MANIFEST
from three_backup.snapshots import Manifest, SnapshotId

HOUR = timedelta(hours=1)
_NUMBERS = count(1)
# A base is due when there is none, an incremental when the newest snapshot is of another minute.
_SCHEDULES = {"base_schedule": '"0 0 29 2 *"', "incremental_schedule": '"* * * * *"'}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one object's record said after tb-plan and after tb-snapshot; stderr of all tools."""

    planned: dict[str, Any]
    taken: dict[str, Any]
    stderr: str
    status: int

    @property
    def kind(self) -> str | None:
        """Of the snapshot that was taken."""
        snapshot = self.taken.get("snapshot")
        return snapshot and str(snapshot["kind"])

    @property
    def snapshot(self) -> str:
        return str(self.taken["snapshot"]["id"])


class Living(Host):
    """A host with a folder of its own that keeps its snapshots to itself, or in a bucket."""

    def configure(self, sections: str = "", **everything: object) -> None:
        super().configure(
            sections, **{**_SCHEDULES, "s3_bucket": self.bucket or None, **everything}
        )

    def point_to(self, server: PostgresServer) -> None:
        """Have the same host find another server."""
        self.server = server
        for name, value in server.environ.items():
            self.environ[name] = value if name != "PATH" else f"{self._path}:{value}"

    @property
    def _path(self) -> str:
        return self.environ["PATH"].partition(":/")[0]

    def turn(self, object: str, options: str = "") -> Turn:
        """An hour later: what is planned, and what becomes of it."""
        self.age()
        outcome = self.sh(f"tb-discover | tb-plan | tee plan | tb-snapshot {options}")
        planned = [json.loads(line) for line in (self.folder / "plan").read_text().splitlines()]
        return Turn(
            next(record for record in planned if record["id"] == object),
            next(record for record in outcome.records if record["id"] == object),
            outcome.stderr,
            outcome.status,
        )

    def age(self) -> None:
        """Every snapshot of this host was taken an hour earlier."""
        folders = self.local_dir.glob("postgres/cluster/*/[0-9]*Z-*")
        for folder in sorted(folders, key=lambda folder: folder.name):
            _age(folder)


@contextmanager
def living(
    folder: Path, server: PostgresServer, s3: SeaweedServer, bucket: str = ""
) -> Iterator[Living]:
    """A host beside the server, with the server's database `postgres`."""
    own = folder / f"host{next(_NUMBERS)}"
    own.mkdir(mode=0o711)
    yield Living(own, "postgres", server, s3, bucket)


def _age(folder: Path) -> None:
    file = folder / MANIFEST
    manifest = Manifest.from_json(file.read_bytes(), str(file))
    now = manifest.snapshot
    then = SnapshotId(now.time - HOUR, now.parent and now.parent - HOUR)
    file.write_bytes(replace(manifest, snapshot=then).to_json())
    folder.rename(folder.with_name(str(then)))
