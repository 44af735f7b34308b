"""Archived WAL beside snapshots: it is listed, watched, and removed once no snapshot needs it."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.lab.forked import Forked
from tests.pipeline.conftest import BIN, Host, host_beside, store
from tests.postgres.filled import Archiving
from three_backup.catalog.catalog import Catalog
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.keeping.moments import log_of
from three_backup.model.local_time import local
from three_backup.model.objects import Carrier
from three_backup.model.schedule import host_zone
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import Piece, position

_NUMBERS = count(1)
MB = 1 << 20
ONE_BASE: dict[str, Any] = {
    "wal": "pull",
    "max_base_snapshots_local": 1,
    "max_base_snapshots_s3": 1,
    "max_incremental_snapshots_s3": 0,
}
BACKUP = "tb-discover | tb-snapshot --base | tb-upload"


@pytest.fixture
def walled(
    server_folder: Path, seaweed: SeaweedServer, bucket: str, tools: Forked
) -> Iterator[Host]:
    """A host with a server that has segments of a megabyte, and one base in S3."""
    folder = server_folder / f"walled{next(_NUMBERS)}"
    settings = {"wal_keep_size": "1GB"}
    with (
        PostgresServer(folder, 17, settings, initdb=["--wal-segsize=1"]) as server,
        host_beside(server_folder, server, seaweed, bucket, tools) as host,
    ):
        host.configure(**ONE_BASE)
        host.execute("create table noise (at timestamptz)")
        host.good(BACKUP)
        yield host
    shutil.rmtree(folder)


@pytest.fixture
def archiving(walled: Host) -> Archiving:
    ((identifier,),) = walled.rows("select system_identifier::text from pg_control_system()")
    carrier = Carrier(f"postgres/cluster/{identifier}")
    return Archiving(walled.server, WalArchive(store(walled), carrier))


def write(host: Host, segments: int = 1) -> None:
    """Write WAL into as many segments, or one more."""
    host.execute("select pg_sleep(2)")  # moments are told in whole seconds
    for _ in range(segments):
        host.execute("insert into noise values (now())")
        host.execute("select pg_switch_wal()")


def keys(host: Host) -> set[str]:
    return {found.key for found in store(host).all_keys("wal/")}


def _shown(time: str) -> str:
    return local(datetime.fromisoformat(time), host_zone(os.environ))


def starts(host: Host) -> list[int]:
    """Return where the snapshots in S3 start, the oldest first."""
    manifests = [
        json.loads(store(host).read(found.key))
        for found in store(host).all_keys("manifests/postgres/")
    ]
    return sorted(position(manifest["facts"]["start_lsn"]) for manifest in manifests)


def test_the_list_says_which_moments_can_be_restored(walled: Host, archiving: Archiving) -> None:
    write(walled)
    assert "moment" not in walled.good("tb-list --snapshots < /dev/null").stdout
    archiving.catch_up()
    (record, *_) = walled.good("tb-list --json --snapshots < /dev/null").records
    (window,) = record["moments"]["windows"]
    assert window["until"] == record["moments"]["reached"]
    assert record["moments"]["size"] == sum(
        found.size for found in store(walled).all_keys("wal/") if found.key.endswith(".zst")
    )
    shown = walled.good("tb-list --snapshots < /dev/null").stdout
    since, until = (_shown(window[end]) for end in ("since", "until"))
    assert f"\n  any moment from {since} to {until}\n" in shown

    write(walled)
    archiving.catch_up(lose=True)
    write(walled)
    archiving.catch_up()
    (record, *_) = walled.good("tb-list --stored --json --snapshots").records
    (window,) = record["moments"]["windows"]
    assert window["until"] <= record["moments"]["reached"]
    shown = walled.good("tb-list --stored --snapshots").stdout
    assert f"\n  not after {_shown(window['until'])}, until there is a new snapshot\n" in shown
    walled.good(BACKUP)
    write(walled)
    archiving.catch_up()
    (record, *_) = walled.good("tb-list --stored --json --snapshots").records
    first, second = record["moments"]["windows"]
    shown = walled.good("tb-list --snapshots < /dev/null").stdout
    until, since = _shown(first["until"]), _shown(second["since"])
    assert f"\n  not between {until} and {since}\n" in shown


def test_what_no_kept_base_needs_is_removed_and_nothing_else(
    walled: Host, archiving: Archiving
) -> None:
    write(walled, 3)
    archiving.catch_up()
    walled.good(BACKUP)
    write(walled, 2)
    archiving.catch_up()
    before = keys(walled)
    dry = walled.good("tb-discover | tb-rotate --dry-run")
    assert keys(walled) == before
    (verdict,) = dry.records[0]["wal_verdicts"]
    assert dry.stderr.count("WAL in S3, ") == 1
    assert ", the oldest snapshot that keeps WAL" in dry.stderr
    (record, *_) = walled.good("tb-discover | tb-rotate").records
    gone = before - keys(walled)
    (start,) = starts(walled)
    assert gone == {
        key for key in before if key.endswith(".zst") and piece_end(key) <= start // MB * MB
    }
    assert gone
    assert record["removed"]["wal"]["keys"] == verdict["keys"] == len(gone)
    (again, *_) = walled.good("tb-discover | tb-rotate").records
    assert "wal" not in again["removed"]


def test_a_base_that_somebody_holds_keeps_no_wal_and_comes_back_as_it_was(
    walled: Host, archiving: Archiving
) -> None:
    (old,) = walled.good("tb-list --stored --snapshots --json").records[0]["snapshots"]
    walled.good(f"tb-keep postgres {old['id']}")
    write(walled, 3)
    archiving.catch_up()
    walled.good(BACKUP)
    write(walled, 2)
    archiving.catch_up()
    (record, *_) = walled.good("tb-discover | tb-rotate").records
    assert record["removed"]["s3"] == []
    assert record["removed"]["wal"]["keys"] > 0
    held, newest = starts(walled)
    left = {piece_end(key) for key in keys(walled) if key.endswith(".zst")}
    assert all(end > newest // MB * MB for end in left)
    assert held < newest
    (record, *_) = walled.good("tb-list --stored --json --snapshots").records
    assert len(record["moments"]["windows"]) == 1
    walled.good("tb-status")
    walled.wipe()
    restore = f"tb-restore --level3 as_it_was --snapshot {old['id']} {walled.table('noise')}"
    walled.good(restore)
    assert walled.rows("select count(*) from as_it_was") == [(0,)]


def piece_end(key: str) -> int:
    return int(key.removesuffix(".zst").rpartition("-")[2], 16)


def test_the_status_watches_the_end_of_wal_and_its_gaps(
    walled: Host, archiving: Archiving
) -> None:
    nothing = walled.sh("tb-status")
    assert (nothing.status, "no WAL is in S3 yet" in nothing.stdout) == (1, True)
    write(walled)
    archiving.catch_up()
    shown = walled.sh("tb-status").stdout
    assert "WAL" in shown.splitlines()[2].split()
    assert "no WAL" not in shown
    walled.configure(**{**ONE_BASE, "wal_max_age": "0s"})
    late = walled.sh("tb-status")
    assert late.status == 2
    assert "the WAL in S3 ends " in late.stdout.splitlines()[0]
    walled.configure(**ONE_BASE)
    write(walled)
    archiving.catch_up(lose=True)
    write(walled)
    archiving.catch_up()
    assert "the next snapshot closes the gap" in walled.sh("tb-status").stdout
    walled.good(BACKUP)
    write(walled)
    archiving.catch_up()
    file = walled.folder / "status.prom"
    outcome = walled.sh(f"tb-status --json --prometheus {file}")
    (record,) = outcome.records
    assert len(record["status"]["moments"]["windows"]) == 2
    (trouble,) = record["status"]["troubles"]
    assert "closes the gap" in trouble
    assert "three_backup_wal_gaps{" in file.read_text()
    walled.good("tb-discover | tb-rotate")
    assert walled.good("tb-status").status == 0  # with the base before it the gap is gone


def test_wal_is_in_the_way_of_nothing_else(walled: Host, archiving: Archiving) -> None:
    write(walled)
    archiving.catch_up()
    table = walled.table("noise")
    rotated = walled.good("tb-discover | tb-rotate")
    assert "belong to no snapshot" not in rotated.stderr
    walled.good("tb-verify postgres")
    walled.wipe()
    walled.good("tb-check -s s3")
    listed = walled.good("tb-list --stored --json").records
    assert {record["id"] for record in listed} == {table}
    walled.good(f"tb-discover --stored -s {table} | tb-restore --level3-suffix _then")
    assert walled.rows("select count(*) from noise_then") == [(0,)]


def test_a_failed_record_keeps_the_wal_of_its_carrier(walled: Host, archiving: Archiving) -> None:
    write(walled, 2)
    archiving.catch_up()
    before = keys(walled)
    (record,) = walled.good("tb-discover").records
    failed = {**record, "error": {"tool": "x", "code": "x", "message": "x"}}
    lines = "\n".join(json.dumps(each) for each in (record, failed))
    assert walled.tool("tb-rotate", stdin=lines).status == 1
    assert keys(walled) == before


def test_a_manifest_that_cannot_be_read_keeps_all_wal(walled: Host, archiving: Archiving) -> None:
    write(walled, 2)
    walled.configure(**{**ONE_BASE, "max_base_snapshots_local": 2, "max_base_snapshots_s3": 2})
    archiving.catch_up()
    walled.good(BACKUP)
    before = keys(walled)
    shutil.rmtree(walled.local_dir / "cache", ignore_errors=True)
    (oldest, _) = sorted(found.key for found in store(walled).all_keys("manifests/postgres/"))
    content = store(walled).read(oldest)
    store(walled).write(oldest, content.replace(b'"start_lsn":"0/', b'"start_lsn":"1/'))
    outcome = walled.sh("tb-discover | tb-rotate")
    assert "no WAL is removed, since" in outcome.stderr
    assert keys(walled) == before


def test_a_carrier_without_wal_costs_one_request(walled: Host) -> None:
    catalog = Catalog(store(walled).storage)
    (carrier,) = catalog.carriers("postgres")
    snapshots = catalog.snapshots(carrier)
    before = catalog.bucket.requests
    assert log_of(catalog, carrier, snapshots) is None
    assert catalog.bucket.requests - before == 1


@dataclass
class Killer:
    """A meddler of the proxy that kills the tool at its n-th request, carried out or not."""

    process: Callable[[], subprocess.Popen[str] | None] = lambda: None
    number: int = 0
    carried_out: bool = False
    seen: int = 0
    killed: str = ""

    def __call__(self, request: Request, forward: Forward) -> Answer:
        self.seen += 1
        if self.seen != self.number:
            return forward()
        if self.carried_out:
            forward()
        process = self.process()
        assert process is not None
        process.kill()
        self.killed = f"{request.method} {request.path.partition('?')[2]}"
        return Answer(0, {}, b"")


def test_a_kill_at_any_request_takes_nothing_needed_and_the_next_run_finishes(
    walled: Host, archiving: Archiving
) -> None:
    """Some thousand small pieces before the base take several requests to be deleted."""
    walled.good("tb-discover | tb-rotate")
    write(walled, 2)
    archiving.catch_up()
    walled.good("tb-discover | tb-rotate")
    needed = keys(walled)
    folder = next(key for key in needed if key.endswith("reached.json")).rpartition("/")[0]
    pieces = [Piece(1, start, start + 1024) for start in range(0, 5200 * 1024, 1024)]
    bucket = store(walled)
    for piece in pieces:
        bucket.write(f"{folder}/{piece.key}", b"x")
    before = keys(walled)
    records = walled.good("tb-discover").stdout
    killer = Killer()
    with proxy(walled.s3.endpoint, killer) as endpoint:
        walled.configure(**{**ONE_BASE, "s3_endpoint": endpoint})
        hit: list[str] = []
        while not hit or hit[-1]:
            hit.append(_killed(walled, killer, len(hit) + 1, records))
            assert needed <= keys(walled) <= before
    assert sum(request.startswith("POST delete") for request in hit) >= 2
    assert keys(walled) == needed


def _killed(host: Host, killer: Killer, number: int, records: str) -> str:
    """Kill a rotation at a request; return the request, empty if there were not so many."""
    killer.number, killer.seen, killer.killed = number, 0, ""
    killer.carried_out = number % 2 == 0
    killer.process = lambda: process
    with subprocess.Popen(
        (BIN / "tb-rotate",),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=host.real.environ,
        text=True,
    ) as process:
        process.communicate(records)
    assert process.returncode == (-signal.SIGKILL if killer.killed else 0)
    return killer.killed
