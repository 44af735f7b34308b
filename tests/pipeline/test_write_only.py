"""A host whose keys may write and read but not delete, and another one that rotates for it."""

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.lab import versioned
from tests.lab.forked import Forked
from tests.lab.keys import KEYS, SECRET, issuing, policy
from tests.pipeline.conftest import Host, host_beside, store
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.s3.volumes import PART_SIZE

PAGE = Path(__file__).parents[2] / "man" / "three_backup.7"
_NUMBERS = count(1)
TAKE = "tb-discover -s postgres | tb-snapshot {} | tb-upload"


def printed_policy() -> str:
    """Return the policy of the page, for any bucket."""
    section = (PAGE.read_text().partition(".Sh KEYS THAT CANNOT DELETE")[2]).partition(".Sh ")[0]
    (text,) = re.findall(r"\.Bd -literal\n(\{.*?)\.Ed", section, re.DOTALL)
    return json.dumps(json.loads(text)).replace(":::backups", ":::*")


@pytest.fixture(scope="module")
def issuer(server_folder: Path) -> Iterator[SeaweedServer]:
    """A server whose key `writer` has the policy of the page."""
    others = {name: policy(KEYS[name]) for name in ("without-abort", "deleter")}
    with issuing(server_folder / "write-only", {"writer": printed_policy(), **others}) as server:
        yield server


@pytest.fixture
def careful(
    server_folder: Path, postgres17: PostgresServer, issuer: SeaweedServer, tools: Forked
) -> Iterator[Host]:
    """A host with a table, and a bucket with Object Lock."""
    bucket = f"careful-{next(_NUMBERS)}"
    versioned.create_locked(issuer, bucket)
    with host_beside(server_folder, postgres17, issuer, bucket, tools) as host:
        host.execute("create table orders as select n as id from generate_series(1, 100) n")
        yield host
    issuer.delete_bucket(bucket)


def with_key(host: Host, key: str, **options: Any) -> None:
    host.configure(s3_access_key=key, s3_secret_key=SECRET, **options)


def open_uploads(host: Host) -> int:
    answer = versioned.owner(host.s3).list_multipart_uploads(Bucket=host.bucket)
    return len(answer.get("Uploads", ()))


def listed(host: Host, more: str = "") -> list[str]:
    table = host.table("orders")
    (record,) = host.sh(f"tb-list --stored --snapshots --json -s {table} {more}").records
    return [str(each["id"]) for each in record["snapshots"]]


@pytest.mark.parametrize("key", ["writer", "without-abort"])
def test_runs_go_well_with_a_key_that_may_not_delete(careful: Host, key: str) -> None:
    with_key(careful, key, max_stage="rotated_locally", max_base_snapshots_s3=1, wal="pull")
    text = "md5(random()::text) || md5(random()::text)"
    careful.execute(f"create table large as select {text} r from generate_series(1, 700000)")
    for _ in range(3):
        careful.good("tb-run --base")
    assert len(listed(careful)) == 3
    assert max(found.size for found in store(careful).all_keys("data/")) > PART_SIZE  # in parts
    assert open_uploads(careful) == 0
    careful.good(f"tb-cat {careful.table('orders')}")
    checked = careful.good("tb-check -s s3").stdout
    assert "bad" not in checked
    assert "max_stage: rotated_locally" in checked
    careful.good("tb-check -s s3")  # what the first one left is no obstacle


def test_another_host_rotates_for_it_and_leaves_the_prefix_to_it(careful: Host) -> None:
    with_key(careful, "writer", max_stage="rotated_locally", lock_days=1)
    for _ in range(2):
        careful.good("tb-run --base")
    owner = store(careful).read("owner.json")
    local, other = careful.local_dir, careful.folder / "other"
    rotate = "tb-discover --stored --s3-prefix host | tb-rotate --s3-prefix host {}"
    rotator = {"s3_prefix": "rotator", "local_dir": other, "max_base_snapshots_s3": 1}
    with_key(careful, "deleter", **rotator)
    (record,) = careful.good(rotate.format("")).records
    assert len(record["removed"]["locked"]) == 1
    assert record["removed"]["s3"] == []
    with_key(careful, "writer", s3_prefix="host", max_stage="rotated_locally")
    for _ in range(2):
        careful.good("tb-run --base")  # not locked
    with_key(careful, "deleter", **rotator)
    before = listed(careful, "--s3-prefix host")
    assert len(before) == 4
    (record,) = careful.good(rotate.format("")).records
    assert record["removed"]["s3"] == [before[2]]
    assert listed(careful, "--s3-prefix host") == [*before[:2], before[3]]
    assert store(careful).read("owner.json") != owner  # by the runs of its owner
    assert local.is_dir()
    with_key(careful, "writer", s3_prefix="host", max_stage="rotated_locally")
    careful.good("tb-run --base")
    careful.wipe()
    assert len(careful.good(f"tb-cat {careful.table('orders')}").stdout.splitlines()) == 101


def test_a_rotation_for_another_host_is_said_in_full(careful: Host) -> None:
    careful.good(TAKE.format("--base"))
    careful.configure(s3_prefix="rotator")
    refused = careful.sh("tb-discover --stored --s3-prefix host | tb-rotate")
    assert refused.status == 1
    assert "which another host writes" in refused.stderr
    for option in ("--adopt", "--orphans"):
        assert careful.sh(f"tb-rotate {option} --s3-prefix host < /dev/null").status == 2
