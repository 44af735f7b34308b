"""A host that makes its snapshots older: each turn (discover, plan, snapshot) finds one due."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from tests.lab.forked import Forked
from tests.pipeline.conftest import Host
from three_backup.catalog.folders import MANIFEST
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.model.snapshots import Manifest, SnapshotId

from .taking import run

HOUR = timedelta(hours=1)
_NUMBERS = count(1)
# A base is due when there is none, an incremental when the newest snapshot is of another minute.
_SCHEDULES = {"base_schedule": '"0 0 29 2 *"', "incremental_schedule": '"* * * * *"'}


@dataclass(frozen=True, slots=True)
class Turn:
    """One object's records of a turn, and how the tools ended."""

    planned: dict[str, Any]  # the record after tb-plan
    taken: dict[str, Any]  # the record after tb-snapshot
    stderr: str  # of all tools
    status: int  # of tb-snapshot

    @property
    def kind(self) -> str | None:
        """The kind of the snapshot that was taken, if any."""
        snapshot = self.taken.get("snapshot")
        return snapshot and str(snapshot["kind"])

    @property
    def snapshot(self) -> str:
        return str(self.taken["snapshot"]["id"])


class Living(Host):
    """A host with a folder of its own, and with a bucket or without."""

    def configure(self, sections: str = "", **everything: object) -> None:
        super().configure(
            sections, **{**_SCHEDULES, "s3_bucket": self.bucket or None, **everything}
        )

    def turn(self, object_id: str, options: str = "") -> Turn:
        """Age the snapshots, then discover, plan and take one; options are tb-snapshot's."""
        self.age()
        outcome = self.sh(f"tb-discover | tb-plan | tee plan | tb-snapshot {options}")
        assert outcome.stdout, outcome.stderr
        planned = [json.loads(line) for line in (self.folder / "plan").read_text().splitlines()]
        return Turn(
            next(record for record in planned if record["id"] == object_id),
            next(record for record in outcome.records if record["id"] == object_id),
            outcome.stderr,
            outcome.status,
        )

    def age(self) -> None:
        """Make every snapshot on this host an hour older."""
        for folder in self._folders():
            _age(folder)

    def snapshots(self) -> list[str]:
        """Return the snapshots on this host, oldest first."""
        return [folder.name for folder in self._folders()]

    def beside(self, server: PostgresServer) -> "Living":
        """Return the same host with another server."""
        return Living(self.folder, self.database, server, self.s3, self.bucket, self.tools)

    def _folders(self) -> list[Path]:
        folders = self.local_dir.glob("postgres/cluster/*/[0-9]*Z-*")
        return sorted(folders, key=lambda folder: folder.name)


@contextmanager
def living(
    folder: Path, server: PostgresServer, s3: SeaweedServer, tools: Forked, bucket: str = ""
) -> Iterator[Living]:
    """A host with the server's database `postgres`; an empty bucket means none."""
    own = folder / f"host{next(_NUMBERS)}"
    own.mkdir(mode=0o711)
    yield Living(own, "postgres", server, s3, bucket, tools)


@contextmanager
def standby_of(primary: PostgresServer, folder: Path) -> Iterator[PostgresServer]:
    """A standby of the primary, until a test promotes it."""
    standby = PostgresServer(folder / f"standby{next(_NUMBERS)}", primary.version)
    argv = (standby.bindir / "pg_basebackup", "--pgdata", standby.pgdata, "--checkpoint=fast")
    subprocess.run(argv, env=primary.environ, check=True, capture_output=True)
    (standby.pgdata / "standby.signal").touch()
    with (standby.pgdata / "postgresql.auto.conf").open("a") as configuration:
        configuration.write(f"port = {standby.port}\n")
        configuration.write(f"unix_socket_directories = '{standby.folder}'\n")
        configuration.write(
            f"primary_conninfo = 'host={primary.folder} port={primary.port} user=postgres'\n"
        )
    unprivileged_account().own(standby.pgdata)
    with standby:
        yield standby
    shutil.rmtree(standby.folder)


def write_wal_past(server: PostgresServer, lsn: str) -> None:
    """Write WAL until the position is past lsn, which takes less than a second."""
    run(
        server,
        "postgres",
        f"do $$ begin while pg_current_wal_insert_lsn() <= '{lsn}' loop"
        " perform pg_logical_emit_message(false, '', repeat('x', 8000000)); end loop; end $$",
        "select pg_switch_wal()",
    )


def _age(folder: Path) -> None:
    file = folder / MANIFEST
    manifest = Manifest.from_json(file.read_bytes(), str(file))
    now = manifest.snapshot
    then = SnapshotId(now.time - HOUR, now.parent and now.parent - HOUR)
    file.write_bytes(replace(manifest, snapshot=then).to_json())
    folder.rename(folder.with_name(str(then)))
