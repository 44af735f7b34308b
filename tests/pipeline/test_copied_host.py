"""A copy of a machine has its id and its local_dir; both would write below the same prefix."""

import shutil

import pytest

from tests.pipeline.conftest import Host, Outcome, store

TAKE = "tb-discover | tb-snapshot --base | tb-upload | tb-rotate"


@pytest.fixture
def shop(host: Host) -> Host:
    """A host with one base in S3, and with a copy of its local_dir."""
    host.execute("create table orders as select generate_series(1, 3) as id")
    host.configure(max_base_snapshots_s3=1)
    host.good(TAKE)
    shutil.copytree(host.local_dir, host.folder / "copy")
    return host


def become(host: Host, local_dir: str) -> None:
    host.configure(max_base_snapshots_s3=1, local_dir=host.folder / local_dir)


def keys(host: Host) -> set[tuple[str, int]]:
    return {(entry.key, entry.size) for entry in store(host).all_keys("")}


def refused(outcome: Outcome) -> None:
    assert outcome.status in (1, 78), outcome.stderr  # 1 behind a pipe
    assert "another machine with the id of this host" in outcome.stderr
    assert "--adopt" in outcome.stderr


@pytest.mark.parametrize(("first", "second"), [("local", "copy"), ("copy", "local")])
def test_of_a_host_and_its_copy_only_the_first_goes_on(
    shop: Host, first: str, second: str
) -> None:
    become(shop, first)
    shop.good(TAKE)
    before = keys(shop)
    become(shop, second)
    refused(shop.sh(TAKE))
    refused(shop.sh("tb-discover | tb-rotate"))
    assert keys(shop) == before
    owner = shop.sh("tb-check -s s3").stdout
    assert "another machine with the id of this host" in " ".join(owner.split())
    become(shop, first)
    shop.good(TAKE)
    become(shop, second)
    shop.good("tb-run --adopt")
    shop.good(TAKE)
    become(shop, first)
    refused(shop.sh(TAKE))


def test_a_drill_on_the_copy_does_not_stop_the_host(shop: Host) -> None:
    become(shop, "copy")
    shop.good(f"tb-verify {shop.table('orders')}")
    become(shop, "local")
    shop.good(TAKE)
    become(shop, "copy")
    shop.good(f"tb-verify {shop.table('orders')}")
    assert "PROVED" in shop.good("tb-list --drills < /dev/null").stdout


def test_a_host_that_lost_its_local_dir_or_calls_s3_otherwise_goes_on(shop: Host) -> None:
    shop.wipe()
    shop.good(TAKE)
    port = shop.s3.endpoint.rpartition(":")[2]
    shop.configure(max_base_snapshots_s3=1, s3_endpoint=f"http://localhost:{port}")
    shop.good(TAKE)
    become(shop, "local")
    shop.good(TAKE)
