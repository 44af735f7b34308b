"""What an earlier release stored comes back, by this version and every later one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline import kept_bucket
from tests.pipeline.conftest import Host, store
from tests.pipeline.kept_bucket import FOLDER, HITS, KEYS, PREFIX
from three_backup.demo.clickhouse import ClickhouseServer

RELEASES = sorted(FOLDER.glob("*.tar"))


@pytest.fixture
def reader(host: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host with both servers, which has nothing of what was kept."""
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    yield host
    clickhouse.execute("DROP DATABASE IF EXISTS kept SYNC")


def read_back(host: Host, clickhouse: ClickhouseServer, path: Path) -> None:
    """Show that a kept bucket is read, with nothing else of the host that wrote it."""
    facts, records = kept_bucket.unpack(path, store(host, PREFIX))
    host.configure(s3_prefix=PREFIX, **KEYS)
    listed = host.good("tb-list --stored --snapshots --json").records
    snapshots = [each for record in listed for each in record["snapshots"]]
    assert {each["kind"] for each in snapshots} == {"base", "incremental"}
    assert not any(each.get("foreign") for each in snapshots)
    host.good("tb-verify --read-only", records)
    (held,) = host.good("tb-keep --json").records
    assert held["kept"]["reason"] == "the first one"
    orders = f"postgres/table/{facts['database']}/public/orders"
    host.good(f"tb-restore --level1 {host.database} {orders}")
    host.good(f"tb-restore {HITS}")
    found = kept_bucket.digests(host, clickhouse)
    assert found == {name: facts[name] for name in found}
    later = host.good(f"tb-cat --at '{facts['moment']}' {orders}").stdout.splitlines()
    assert len(later) == 1 + found["orders"][0]


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_what_a_release_stored_comes_back(
    reader: Host, clickhouse: ClickhouseServer, path: Path
) -> None:
    read_back(reader, clickhouse, path)


def test_what_this_version_stores_can_be_kept(
    reader: Host, clickhouse: ClickhouseServer, tmp_path: Path
) -> None:
    kept_bucket.fill(reader, clickhouse)
    kept = Path(os.environ.get("KEEP_BUCKET", tmp_path / "kept.tar"))
    kept_bucket.pack(reader, kept)
    of_this = store(reader, PREFIX)
    of_this.delete(list(of_this.all_names("")))
    reader.wipe()
    reader.execute("drop table orders")
    clickhouse.execute("DROP DATABASE kept SYNC")
    read_back(reader, clickhouse, kept)


def test_a_bucket_is_kept_of_every_release() -> None:
    assert [path.stem for path in RELEASES] == ["1.0.0"]
