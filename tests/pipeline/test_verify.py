"""tb-verify proves snapshots by restoring them, and finds and names damage."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from tests.pipeline.conftest import Host, Outcome, store
from three_backup import pipe
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import ObjectId
from three_backup.s3.store import Store
from three_backup.sources.clickhouse.relations import DRILLING
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.index import Index
from three_backup.watching.health import Level

_ROWS = "select i as id, md5(i::text) as word, repeat(md5(i::text), 99) as long"
_DATABASE = "proving"


@pytest.fixture
def proving(host: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host with a chain of two for each server, only in S3."""
    host.execute(f"create table orders as {_ROWS} from generate_series(1, 2000) i")
    host.execute("create index on orders (word)")
    host.execute(f"create table others as {_ROWS} from generate_series(1, 50) i")
    host.execute("create view few as select * from others")
    clickhouse.execute(f"CREATE DATABASE {_DATABASE}")
    clickhouse.execute(
        f"CREATE TABLE {_DATABASE}.hits ENGINE MergeTree ORDER BY id AS "
        "SELECT number AS id, toString(number) AS word FROM numbers(5000)"
    )
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    take = f"tb-discover -s postgres -s clickhouse/table/default/{_DATABASE} | tb-snapshot"
    host.good(f"{take} --base | tb-upload")
    host.execute(f"insert into orders {_ROWS} from generate_series(3001, 3100) i")
    clickhouse.execute(f"INSERT INTO {_DATABASE}.hits VALUES (9999, 'late')")
    host.good(f"{take} --incremental | tb-upload")
    host.wipe()
    yield host
    clickhouse.execute(f"DROP DATABASE {_DATABASE} SYNC")


def hits() -> str:
    return f"clickhouse/table/default/{_DATABASE}/hits"


def by_id(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in outcome.records}


def errors(outcome: Outcome) -> dict[str, str]:
    return {
        object_id: record["error"]["message"]
        for object_id, record in by_id(outcome).items()
        if "error" in record
    }


def drills(host: Host) -> list[str]:
    return [entry.key for entry in store(host).all_keys("drills/")]


def index_keys(s3: Store) -> list[str]:
    """Return the index keys of the PostgreSQL snapshots, oldest first."""
    found = (stored.key for stored in s3.all_keys("data/postgres/"))
    return sorted(key for key in found if "/index.zst" in key)


def frame_of(index: Index, object_id: str) -> int:
    """Return where in its pack the first frame of the object's rows begins."""
    (relation, *_) = index.objects[ObjectId.parse(object_id)]
    group = index.files[relation].group
    assert group is not None
    return index.groups[group].frames[0].offset


@contextmanager
def damaged(s3: Store, key: str, at: int) -> Iterator[None]:
    """Flip one bit of the key's content during the block."""
    body = s3.read(key)
    s3.write(key, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
    yield
    s3.write(key, body)


def test_what_comes_back_is_counted_checked_and_remembered(
    proving: Host, clickhouse: ClickhouseServer
) -> None:
    leftover = (
        DRILLING + sha256(pipe.Invocation("tb-verify", {}).host_id.encode()).hexdigest()[:12]
    )
    clickhouse.execute(f"CREATE DATABASE {leftover}")
    clickhouse.execute(f"CREATE TABLE {leftover}.drilled (id Int8) ENGINE MergeTree ORDER BY id")
    orders, others = proving.table("orders"), proving.table("others")
    few = others.replace("/table/", "/view/").replace("others", "few")
    listed = by_id(proving.good("tb-list --stored --drills --json"))
    assert [listed[object_id]["drilled_at"] for object_id in (orders, hits())] == [None, None]
    drill = f"tb-verify --content 'postgres/*/{proving.database}/*' '{hits()}'"
    proved = by_id(proving.good(drill))
    assert {object_id: record["drilled"].get("rows") for object_id, record in proved.items()} == {
        orders: 2100,
        others: 50,
        few: None,
        hits(): 5001,
    }
    content = proved[orders]["drilled"]["content"]
    assert by_id(proving.good(drill))[orders]["drilled"]["content"] == content
    assert proved[orders]["drilled"]["indexes"] > 1  # its own and that of its TOAST table
    assert clickhouse.rows(f"SELECT count() FROM system.databases WHERE name = '{leftover}'") == [
        (0,)
    ]
    listed = by_id(proving.good("tb-list --stored --drills --json"))
    assert all(listed[object_id]["drilled_at"] for object_id in proved)
    table = proving.good(f"tb-list --stored --drills -s {orders}").stdout
    assert table.splitlines()[0].endswith("PROVED")
    assert not table.splitlines()[1].endswith("never")
    known = by_id(proving.good("tb-status --json"))
    assert all(
        known[object_id]["status"]["proved"] == listed[object_id]["drilled_at"]
        for object_id in proved
    )


def test_damage_of_data_index_and_manifest_is_found_and_named(proving: Host) -> None:
    s3, orders, others = store(proving), proving.table("orders"), proving.table("others")
    _, newest = index_keys(s3)
    index = index_file.load(s3.read(index_keys(s3)[0]), "test")
    pack = index_keys(s3)[0].replace("index.zst", "s3.pack")
    (manifest,) = [
        entry.key
        for entry in s3.all_keys("manifests/postgres/")
        if entry.key.endswith("base.json")
    ]
    (last,) = [entry.key for entry in s3.all_keys("manifests/postgres/") if "-incr-" in entry.key]
    both = f"'{orders}' '{others}'"
    for how in ("", "--read-only"):
        with damaged(s3, pack, frame_of(index, orders) + 9):
            found = proving.sh(f"tb-verify {how} {both}")
            assert found.status == 1
            assert list(errors(found)) == [orders]
            assert f"{orders}: " in found.stderr
            assert "s3.pack is damaged in S3 between byte" in found.stderr
        with damaged(s3, newest, 99):
            found = proving.sh(f"tb-verify {how} {both}")
            assert (found.status, list(errors(found))) == (1, [orders, others])
            assert "index.zst is damaged in S3" in found.stderr
        for key in (manifest, last):
            with damaged(s3, key, len(s3.read(key)) // 2):
                found = proving.sh(f"tb-verify {how} {both}")
                assert found.status == 1
                assert found.records
                assert f"{key}: this is not a manifest" in found.stderr
        assert proving.good(f"tb-verify {how} {both}").status == 0
    (part,) = [
        entry.key
        for entry in s3.all_keys("data/clickhouse/")
        if "-base/" in entry.key and entry.key.endswith("data.bin")
    ]
    with damaged(s3, part, s3.read(part).__len__() // 2):
        found = proving.sh(f"tb-verify {hits()}")
        assert (found.status, list(errors(found))) == (1, [hits()])
        assert found.stderr.startswith(f"tb-verify: {hits()}: ")
    failed = [entry.key for entry in s3.all_keys("drills/") if entry.key.endswith("failed.json")]
    assert [key.split("/")[-2] for key in failed] == ["hits"]
    warned = proving.sh("tb-status")
    assert warned.status == Level.WARNING
    assert f"{hits()}: the drill of 20" in warned.stdout
    proving.good(f"tb-verify {hits()}")
    assert "the drill of" not in proving.sh("tb-status").stdout


def test_the_same_snapshot_has_to_give_the_same_each_time(proving: Host) -> None:
    s3, others = store(proving), proving.table("others")
    proving.good(f"tb-verify {others}")
    (key,) = [entry.key for entry in s3.all_keys("drills/")]
    s3.write(key, json.dumps({**json.loads(s3.read(key)), "rows": 49}).encode())
    differs = proving.sh(f"tb-verify {others}")
    assert differs.status == 1
    assert f"{others}: rows of snapshot " in differs.stderr
    assert " were 49 at " in differs.stderr


def test_a_sample_begins_with_what_was_proved_longest_ago(proving: Host) -> None:
    orders, others = proving.table("orders"), proving.table("others")
    feed = f"tb-discover --stored -s {orders} -s {others} | tb-verify --sample 1"
    (first,) = proving.good(feed).records
    seen = [first["id"]]
    seen += [proving.good(f"{feed} --oldest-first").records[0]["id"] for _ in range(1)]
    assert sorted(seen) == [orders, others]
    assert "0 is not" in proving.sh("tb-verify --sample 0 '*'").stderr.replace("'", "")


def test_a_drill_that_could_not_be_tried_is_no_failed_drill(proving: Host) -> None:
    orders = proving.table("orders")
    (record,) = proving.good(f"tb-list --stored --json -s {orders}").records
    with carrier_lock(proving.local_dir, record["carrier"]):
        busy = proving.sh(f"tb-verify {orders}")
    assert (busy.status, list(errors(busy))) == (1, [orders])

    def without_data(request: Request, forward: Forward) -> Answer:
        return refusal(503, "SlowDown") if "/data/" in request.path else forward()

    with proxy(proving.s3.endpoint, without_data) as endpoint:
        proving.configure(s3_endpoint=endpoint, s3_timeout="1s")
        away = proving.sh(f"tb-verify {orders}")
    proving.configure()
    assert (away.status, list(errors(away))) == (69, [orders])
    assert drills(proving) == []
    assert "drill of" not in proving.sh("tb-status").stdout


def test_whoever_reads_no_further_makes_no_drill_fail(proving: Host) -> None:
    proving.sh(f"tb-verify 'postgres/*/{proving.database}/*' | head -1")
    proving.sh(f"tb-verify 'postgres/*/{proving.database}/*' | true")
    assert not [key for key in drills(proving) if key.endswith("failed.json")]


def test_what_cannot_be_remembered_is_proved_all_the_same(proving: Host) -> None:
    both = [proving.table("orders"), proving.table("others")]

    def read_only(request: Request, forward: Forward) -> Answer:
        allowed = request.method == "GET" and "/drills/" not in request.path
        return forward() if allowed else refusal(403, "AccessDenied")

    proving.good(f"tb-verify {' '.join(both)}")
    with proxy(proving.s3.endpoint, read_only) as endpoint:
        proving.configure(s3_endpoint=endpoint)
        outcome = proving.good(f"tb-verify {' '.join(both)}")
    assert [record["id"] for record in outcome.records if "drilled" in record] == both
    assert "nothing is compared with the last drill" in outcome.stderr
    assert "what is proved here is not remembered there" in outcome.stderr


def test_the_prefix_of_another_host_is_read_and_not_written(proving: Host) -> None:
    s3 = store(proving)
    s3.write("owner.json", b'{"v":1,"host":"somebody"}')
    outcome = proving.good(f"tb-verify {proving.table('others')}")
    assert "what is proved here is not remembered there" in outcome.stderr
    assert list(s3.all_keys("drills/")) == []
    missing = proving.sh("tb-verify postgres/table/nowhere/public/no")
    assert missing.status == 1
    assert "the newest snapshots in S3 do not hold it" in missing.stderr
