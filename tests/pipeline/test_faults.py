"""Every S3 request of a backup, an upload, a rotation and a restore fails once, in turn.

After each fault the next run is green, and every byte of every snapshot that is listed is in S3.
From N = 11 on, `--seeds N` spoils the first N requests in each way, instead of one of all.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import pytest

from tests.lab import faults
from tests.lab.fault_proxy import proxy
from tests.lab.faults import FAULTS, MANY, PASSING, Fault, certain
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_failures import HASH
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.clickhouse import stored
from three_backup.sources.clickhouse.attempt import folder_key, links
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.index import INDEX

REQUESTS = 46
"""The most requests of the tools in one cycle, and a few more."""
OF_CLICKHOUSE = 48
OF_RESTORES = 16
_NUMBERS = count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    faults.parametrize(metafunc)


@pytest.fixture(scope="module")
def fault() -> Fault:
    return Fault()


@pytest.fixture(scope="module")
def host(host_of_module: Host, fault: Fault) -> Iterator[Host]:
    """A host whose requests to S3 pass through the fault."""
    host = host_of_module
    host.execute(
        "create table noise as select i as id, md5(i::text) as word"
        " from generate_series(1, 2000) i"
    )
    with proxy(host.s3.endpoint, fault) as endpoint:
        host.environ["ENDPOINT"] = endpoint
        yield host


@pytest.fixture
def as_each_time(pytestconfig: pytest.Config) -> None:
    """Skip after longer sweeps: they leave more snapshots behind, which cost more requests."""
    if (pytestconfig.getoption("--seeds") or 0) >= MANY:
        pytest.skip("requests are counted after the sweep that is made each time")


@pytest.mark.faults(FAULTS, REQUESTS)
def test_every_request_may_fail(host: Host, fault: Fault, kind: str, number: int) -> None:
    select = ("--select", host.table("noise"))
    _configure(host, kind)
    host.execute(f"update noise set word = md5(word || '{kind}{number}') where id % 40 = 1")
    fault.arm(kind, number)
    first = _cycle(host, select, _kind_of_snapshot(kind, number))
    assert fault.injected or number > certain(REQUESTS)
    assert first in ({0}, {0, 1}, {0, 69}, {0, 1, 69}) if kind not in PASSING else first == {0}
    fault.arm("", 0)
    assert _cycle(host, select, "--incremental") == {0}
    _every_byte_is_there(host)
    _nothing_else_is_there(host)


@pytest.mark.usefixtures("as_each_time")
def test_no_request_is_out_of_the_sweeps_reach(host: Host, fault: Fault) -> None:
    assert is_near(_most_requests(host, fault, host.table("noise")), REQUESTS)
    host.wipe()
    fault.arm("", 0)
    host.good(f"tb-restore --level3 counted {host.table('noise')}")
    assert is_near(fault.seen, OF_RESTORES)


def test_and_all_of_it_restores(host: Host, fault: Fault) -> None:
    _configure(host, "")
    fault.arm("", 0)
    assert _cycle(host, ("--select", host.table("noise")), "--incremental") == {0}
    then = host.rows(HASH)
    host.wipe()
    snapshots = host.tool("tb-list", "--stored", "--json").records[0]["snapshots"]
    for number, snapshot in enumerate(snapshots):
        host.good(
            f"tb-restore --snapshot {snapshot['id']} --level3 r{number} {host.table('noise')}"
        )
    assert host.rows(HASH.replace("noise", f"r{len(snapshots) - 1}")) == then


@pytest.mark.faults(("away", "torn", "flipped"), OF_RESTORES)
def test_every_request_of_a_restore_may_fail(
    host: Host, fault: Fault, kind: str, number: int
) -> None:
    _configure(host, kind)
    fault.arm("", 0)
    assert _cycle(host, ("--select", host.table("noise")), "--incremental") == {0}
    host.wipe()
    fault.arm(kind, number)
    name = f"of_{kind}_{number}"
    restore = f"tb-restore --level3 {name} {host.table('noise')}"
    outcome = host.sh(restore)
    assert fault.injected or number > certain(OF_RESTORES)
    assert "Traceback" not in outcome.stderr
    if outcome.status != 0:
        assert host.rows(f"select to_regclass('{name}')") == [(None,)]
        fault.arm("", 0)
        host.good(restore)
    assert host.rows(HASH.replace("noise", name)) == host.rows(HASH)
    host.execute(f"drop table {name}")


@pytest.fixture(scope="module")
def visited(host: Host, clickhouse: ClickhouseServer) -> Iterator[tuple[Host, str]]:
    """The host with a table `hits` in ClickHouse, and its database."""
    name = f"swept{next(_NUMBERS)}"
    clickhouse.execute(f"CREATE DATABASE {name}")
    clickhouse.execute(
        f"CREATE TABLE {name}.hits ENGINE MergeTree ORDER BY id AS "
        "SELECT number AS id, toString(number) AS word FROM numbers(1000)"
    )
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    yield host, name
    clickhouse.execute(f"DROP DATABASE {name} SYNC")


@pytest.mark.faults(FAULTS, OF_CLICKHOUSE)
def test_every_request_for_clickhouse_may_fail(
    visited: tuple[Host, str],
    clickhouse: ClickhouseServer,
    fault: Fault,
    kind: str,
    number: int,
) -> None:
    host, name = visited
    object_id = f"clickhouse/table/default/{name}/hits"
    _configure(host, kind)
    clickhouse.execute(f"INSERT INTO {name}.hits SELECT number, '{kind}' FROM numbers({number})")
    fault.arm(kind, number)
    first = _cycle(host, ("--select", object_id), _kind_of_snapshot(kind, number))
    assert fault.injected or number > certain(OF_CLICKHOUSE)
    assert 2 not in first
    assert kind not in PASSING or first == {0}
    fault.arm("", 0)
    assert _cycle(host, ("--select", object_id), "--incremental") == {0}
    _every_byte_is_there(host)
    _nothing_else_is_there(host)
    target = f"back_{kind}_{number}"
    host.good(f"tb-restore --level3 {target} {object_id}")
    query = f"SELECT count(), sum(cityHash64(*)) FROM {name}."
    assert clickhouse.rows(query + target) == clickhouse.rows(query + "hits")


@pytest.mark.usefixtures("as_each_time")
def test_no_request_for_clickhouse_is_out_of_the_sweeps_reach(
    visited: tuple[Host, str], fault: Fault
) -> None:
    host, name = visited
    most = _most_requests(host, fault, f"clickhouse/table/default/{name}/hits")
    assert is_near(most, OF_CLICKHOUSE)


def _most_requests(host: Host, fault: Fault, object_id: str) -> int:
    """Return the most requests of a cycle that takes a snapshot and removes an older one."""
    _configure(host, "")
    seen = []
    for kind in ("--base", "--incremental") * 4:
        fault.arm("", 0)
        assert _cycle(host, ("--select", object_id), kind) == {0}
        seen.append(fault.seen)
    return max(seen)


def is_near(seen: int, reach: int) -> bool:
    """Return whether a sweep covers all requests and ends soon: beyond, it spoils nothing."""
    return reach * 3 / 5 < seen <= reach


def _kind_of_snapshot(kind: str, number: int) -> str:
    return Random(f"{kind}{number}").choice(("--base", "--incremental"))


def _configure(host: Host, kind: str) -> None:
    """Configure the proxy, and time to retry if the tools have to survive the fault."""
    host.configure(
        s3_endpoint=host.environ["ENDPOINT"],
        s3_timeout="5m" if kind in PASSING else "0s",
        max_base_snapshots_s3=1,
        max_incremental_snapshots_s3=1,
        max_incremental_snapshots_local=0,
    )


def _cycle(host: Host, select: tuple[str, ...], kind: str) -> set[int]:
    """Run the tools, each fed the output of the one before; return their exit statuses."""
    statuses, records, said = set(), "", ""
    for name, *argv in (("discover", *select), ("snapshot", kind), ("upload",), ("rotate",)):
        outcome = host.tool(f"tb-{name}", *argv, stdin=records)
        statuses.add(outcome.status)
        records, said = outcome.stdout, said + outcome.stderr
        assert "Traceback" not in said, said
    return statuses


def _every_byte_is_there(host: Host) -> None:
    """Check the data in S3, without local files, against the hashes that the snapshots hold."""
    catalog = Catalog(replace(store(host).storage, local_dir=host.folder / "nothing"))
    for carrier in catalog.carriers("postgres"):
        for snapshot in catalog.snapshots(carrier):
            for files in Snapshot(catalog, carrier, snapshot).chain():
                index = index_file.load(files.read(INDEX), carrier)
                for group in index.groups:
                    for frame in group.frames:
                        piece = files.read_range(group.place.pack, frame.offset, frame.stored)
                        assert hashlib.sha256(piece).digest() == frame.sha256
    for carrier in catalog.carriers("clickhouse"):
        for snapshot in catalog.snapshots(carrier):
            _is_whole(catalog, carrier, catalog.manifest(carrier, snapshot))


def _is_whole(catalog: Catalog, carrier: Carrier, manifest: Manifest) -> None:
    for link in links(manifest.facts):
        found = stored.contents(catalog.bucket, folder_key(carrier, link.folder))
        assert (found.keys, found.size) == (link.keys, link.size)


def _nothing_else_is_there(host: Host) -> None:
    """Check that no data lacks a manifest, no upload is open, nothing here is unfinished."""
    keys = [entry.key.split("/") for entry in store(host).all_keys("")]
    manifests = {key[-1].removesuffix(".json") for key in keys if key[0] == "manifests"}
    folders = {part for key in keys if key[0] == "data" for part in key if SnapshotId.parse(part)}
    assert folders == manifests
    assert "Uploads" not in store(host).client.list_multipart_uploads(Bucket=host.bucket)
    left = [*host.local_dir.rglob(".unfinished-*"), *_journals(host.local_dir)]
    assert left == []


def _journals(local_dir: Path) -> list[Path]:
    folder = local_dir / "journal"
    return [path for path in folder.rglob("*") if path.is_file()]
