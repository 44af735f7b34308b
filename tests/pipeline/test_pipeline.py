"""The pipeline from end to end, on a real server and a real bucket."""

import json
import re
from datetime import datetime

import pytest

from tests.pipeline.conftest import Host, both_versions

FILL = """
create table customers (id int primary key, name text not null);
insert into customers select i, 'customer ' || i from generate_series(1, 5000) i;
create table orders (id int primary key, customer int references customers, note text);
insert into orders select i, 1 + i % 5000, repeat(md5(i::text), 4)
  from generate_series(1, 20000) i;
create view totals as select customer, count(*) from orders group by customer;
"""
HASH = "select count(*), md5(string_agg(t::text, '|' order by id)) from {} t"
FORCED = "tb-discover | tb-snapshot --incremental | tb-upload | tb-rotate"


@pytest.fixture
def shop(host: Host) -> Host:
    host.execute(FILL)
    return host


def content(host: Host, table: str, database: str | None = None) -> tuple[object, ...]:
    return host.rows(HASH.format(table), database)[0]


@both_versions
def test_a_table_comes_back_from_s3_alone_out_of_a_chain_of_three(shop: Host) -> None:
    shop.good("tb-run")
    shop.execute("update orders set note = 'second' where id % 1000 = 0")
    shop.good(FORCED)
    shop.execute("insert into orders select i, 1, 'third' from generate_series(30001, 30010) i")
    shop.good(FORCED)
    then = content(shop, "orders")
    shop.wipe()
    shop.execute("drop table orders cascade")
    outcome = shop.good(f"tb-restore {shop.table('orders')}")
    assert content(shop, "orders") == then
    restored = outcome.records[0]["restored"]
    assert restored["rows"] == 20010
    assert restored["target"] == shop.table("orders")
    assert "-incr-" in restored["snapshot"]
    assert not list((shop.local_dir / "scratch").glob("*"))


def test_a_table_comes_back_beside_the_present_one_as_it_was_then(shop: Host) -> None:
    then = content(shop, "customers")
    first = shop.good("tb-run --json").records[0]["snapshot"]["id"]
    shop.execute(
        "delete from customers where id > 4990 and id not in (select customer from orders)"
    )
    shop.execute("update customers set name = upper(name)")
    now = content(shop, "customers")
    shop.good(FORCED)
    customers = shop.table("customers")
    shop.good(f"tb-restore --snapshot {first} --level3-suffix _then {customers}")
    shop.good(f"tb-restore --level2 archive --level3 now {customers}")
    shop.good(f"tb-restore --level1-suffix _copy {customers}")
    assert content(shop, "customers_then") == then
    assert content(shop, "archive.now") == now
    assert content(shop, "customers", f"{shop.database}_copy") == now
    assert content(shop, "customers") == now


def test_a_target_that_exists_is_replaced_only_when_asked(shop: Host) -> None:
    shop.good("tb-run")
    then = content(shop, "orders")
    shop.execute("truncate orders; drop view totals")
    refused = shop.sh(f"tb-restore {shop.table('orders')}")
    assert refused.status == 1
    assert "--overwrite" in refused.stderr
    assert shop.rows("select count(*) from orders") == [(0,)]
    shop.good(f"tb-restore --overwrite {shop.table('orders')}")
    assert content(shop, "orders") == then


def test_a_view_comes_back(shop: Host) -> None:
    shop.good("tb-run")
    then = shop.rows("select * from totals order by 1")
    shop.execute("drop view totals")
    shop.good(f"tb-restore postgres/view/{shop.database}/public/totals")
    assert shop.rows("select * from totals order by 1") == then


def test_the_second_snapshot_is_an_incremental_and_small(shop: Host) -> None:
    base = shop.good("tb-discover | tb-snapshot").records[0]["snapshot"]
    shop.execute("update orders set note = 'x' where id < 10")
    second = shop.good("tb-discover | tb-snapshot").records[0]["snapshot"]
    assert base["kind"] == "base"
    assert second["kind"] == "incremental"
    assert second["parent"] is not None
    assert second["stored_size"] < base["stored_size"] / 4


def test_nothing_due_changes_nothing_and_asks_little(shop: Host) -> None:
    shop.good("tb-run")
    again = shop.good("tb-run --json")
    for record in again.records:
        assert record["stage"] == "rotated_s3"
        assert record["todo"] == []
        assert "snapshot" not in record


def test_a_plan_can_be_saved_edited_and_carried_out_later(shop: Host) -> None:
    shop.good("tb-discover | tb-plan > saved.ndjson")
    chosen = shop.good(
        "jq -c 'select(.level3==\"orders\")' < saved.ndjson | tb-snapshot | tb-upload"
    )
    (record,) = chosen.records
    assert record["snapshot"]["kind"] == "base"
    assert record["todo"] == ["rotated_locally", "rotated_s3"]
    late = shop.good("tb-snapshot < saved.ndjson")
    assert all("snapshot" not in record for record in late.records)
    assert "was taken since this was planned" in late.records[0]["why"]


def test_the_examples_of_the_overview_work_as_written(shop: Host) -> None:
    shop.good("tb-discover > saved.ndjson")
    shop.good("tb-discover | tb-plan | tb-snapshot")
    ids = shop.good("tb-discover -s postgres | jq -r .id").stdout.splitlines()
    assert shop.table("orders") in ids
    planned = shop.good(
        f"tb-plan < saved.ndjson | jq -c 'select(.level1==\"{shop.database}\")'"
        " | tb-snapshot | tb-upload"
    )
    assert {record["level1"] for record in planned.records} == {shop.database}
    assert "is not on PATH" in shop.good("tb-discover -s lxd | jq -r .id").stderr


def test_what_a_selection_leaves_out_is_in_the_snapshot_all_the_same(shop: Host) -> None:
    shop.good(f"tb-discover -s {shop.table('customers')} | tb-snapshot | tb-upload")
    shop.wipe()
    stored = shop.good("tb-discover --stored").records
    assert shop.table("orders") in [record["id"] for record in stored]


def test_retention_keeps_what_the_limits_say_and_what_that_needs(shop: Host) -> None:
    shop.configure(
        max_base_snapshots_local=1,
        max_incremental_snapshots_local=1,
        max_base_snapshots_s3=1,
        max_incremental_snapshots_s3=2,
    )
    shop.good("tb-run")
    for _ in range(3):
        shop.good(FORCED)
    shop.good("tb-discover | tb-snapshot --base | tb-upload | tb-rotate")
    shop.good(FORCED)
    listed = shop.good("tb-list --json --snapshots < /dev/null").records[0]["snapshots"]
    local = [snapshot["kind"] for snapshot in listed if "local" in snapshot["place"]]
    remote = [snapshot["kind"] for snapshot in listed if "s3" in snapshot["place"]]
    assert local == ["base", "incremental"]
    assert remote == [
        "base",
        "incremental",
        "incremental",
        "incremental",
        "base",
        "incremental",
    ]
    shop.good(FORCED)
    listed = shop.good("tb-list --json --snapshots < /dev/null").records[0]["snapshots"]
    assert [snapshot["kind"] for snapshot in listed if "s3" in snapshot["place"]] == [
        "base",
        "incremental",
        "incremental",
    ]
    shop.wipe()
    shop.execute("alter table orders rename to mislaid; drop view totals")
    shop.good(f"tb-restore {shop.table('orders')}")
    assert content(shop, "orders") == content(shop, "mislaid")


def test_rotation_shows_before_it_does(shop: Host) -> None:
    shop.configure(max_base_snapshots_s3=1, max_incremental_snapshots_s3=0)
    shop.good("tb-run")
    shop.good("tb-discover | tb-snapshot --base | tb-upload")
    shown = shop.good("tb-discover | tb-rotate --dry-run")
    verdicts = shown.records[0]["verdicts"]
    assert [verdict["keep"] for verdict in verdicts if verdict["place"] == "s3"] == [True, False]
    (line,) = [line for line in shown.stderr.splitlines() if "in S3 would go" in line]
    assert re.fullmatch(
        r"tb-rotate: 1 snapshot of \S+ MB in S3 would go, taken on \S+: "
        "not the newest base in S3, and nobody needs it",
        line,
    )
    assert "tb-rotate: 1 snapshot on this host and 1 in S3 would stay\n" in shown.stderr
    assert len(shop.good("tb-list --json --snapshots < /dev/null").records[0]["snapshots"]) == 2
    removed = shop.good("tb-discover | tb-rotate").records[0]["removed"]
    assert len(removed["s3"]) == 1
    assert len(shop.good("tb-list --json --snapshots < /dev/null").records[0]["snapshots"]) == 1


def test_a_source_that_is_disabled_as_a_whole_may_be_away(host: Host) -> None:
    host.environ["PGPORT"] = "1"
    assert host.sh("tb-discover").status == 69
    assert host.sh("tb-check -s postgres").status == 1
    host.configure("- postgres: {disable: true}")
    for command in ("tb-discover", "tb-run", "tb-check"):
        done = host.sh(command)
        assert (done.status, done.stderr) == (0, ""), command
    assert host.sh("tb-check -s postgres").status == 1  # asked for by its name
    host.configure(f"- postgres: {{disable: true}}\n- {host.table('*')}: {{disable: false}}")
    assert host.sh("tb-discover").status == 69


def test_a_disabled_table_is_in_no_snapshot_and_one_that_stops_before_s3_in_none_there(
    shop: Host,
) -> None:
    shop.execute(
        "create table secret as select 'classified' as word, i as id from generate_series(1,9) i"
    )
    shop.execute(
        "create table nearby as select 'stays here' as word, i as id from generate_series(1,9) i"
    )
    shop.configure(
        f"- {shop.table('secret')}: {{disable: true}}\n"
        f"- {shop.table('nearby')}: {{max_stage: snapshot_incremental}}\n"
    )
    shop.good("tb-run")
    nearby = content(shop, "nearby")
    shop.execute("drop table secret, nearby")
    assert shop.sh(f"tb-restore {shop.table('secret')}").status == 1
    shop.good(f"tb-restore {shop.table('nearby')}")
    assert content(shop, "nearby") == nearby
    shop.execute("drop table nearby")
    shop.wipe()
    refused = shop.sh(f"tb-restore {shop.table('nearby')}")
    assert refused.status == 1
    assert refused.records[0]["error"]["message"]
    assert shop.rows("select to_regclass('nearby')") == [(None,)]


def test_objects_of_one_cluster_cannot_lie_in_two_places(shop: Host) -> None:
    shop.configure(f"- {shop.table('orders')}: {{s3_prefix: elsewhere}}\n", s3_prefix=None)
    refused = shop.sh("tb-discover | tb-plan")
    assert refused.status == 78
    assert "s3_prefix differs" in refused.stderr


def test_only_what_needs_s3_fails_without_a_bucket(shop: Host) -> None:
    shop.configure(s3_bucket=None)
    shop.good("tb-discover | tb-plan | tb-snapshot")
    refused = shop.sh("tb-discover | tb-upload")
    assert refused.status == 78
    assert "s3_bucket" in refused.stderr
    assert all("error" in record for record in refused.records)


def test_a_line_that_is_no_record_becomes_an_error_that_names_it(shop: Host) -> None:
    outcome = shop.sh("tb-plan | tb-snapshot | tb-upload | tb-rotate", "\nnonsense\n")
    assert outcome.status == 1
    (record,) = outcome.records
    assert record["line"] == 2
    assert record["error"]["code"] == "input.malformed"


def test_unknown_fields_pass_through_the_whole_pipeline(shop: Host) -> None:
    marked = shop.good("tb-discover | jq -c '. + {note: {by: \"me\"}}'").stdout
    done = shop.good("tb-plan | tb-snapshot | tb-upload | tb-rotate", marked)
    assert all(record["note"] == {"by": "me"} for record in done.records)
    assert [r["id"] for r in done.records] == [json.loads(s)["id"] for s in marked.splitlines()]


def test_a_reader_that_leaves_is_no_failure(shop: Host) -> None:
    outcome = shop.real.sh("{ tb-discover; echo $? >&2; } | head -n 1")
    assert len(outcome.records) == 1
    assert outcome.stderr.split() in (["0"], ["141"])


def test_uploads_and_restores_keep_to_the_limit_in_its_hours(host: Host) -> None:
    host.execute(
        "create table big as select sha512(i::text::bytea) from generate_series(1, 30000) i"
    )
    limit, hour, big = 1_000_000, datetime.now().astimezone().hour, host.table("big")
    host.configure(bandwidth_limit=f"1 MB/s from {hour} to {(hour + 2) % 24}")
    sent = host.good(f"tb-discover -s {big} | tb-snapshot | tb-upload").records[0]["uploaded"]
    assert sent["seconds"] > 0.8 * sent["bytes"] / limit > 2
    host.wipe()
    slow = host.good(f"tb-restore --level3-suffix _slow {big}").records[0]["restored"]
    host.configure(bandwidth_limit=f"1 MB/s from {(hour + 2) % 24} to {(hour + 3) % 24}")
    quick = host.good(f"tb-restore --level3-suffix _quick {big}").records[0]["restored"]
    assert slow["seconds"] > quick["seconds"] + 1


def test_a_dry_run_foretells_how_long_it_takes_once_something_was_restored(shop: Host) -> None:
    orders, dry = shop.table("orders"), "tb-restore --dry-run --level3-suffix _new"
    shop.good("tb-run -q")
    before = shop.good(f"{dry} {orders}")
    assert "seconds" not in before.records[0]["would_restore"]
    assert "will take  unknown: nothing like it was restored yet" in before.stderr
    took = shop.good(f"tb-restore --level3-suffix _back {orders}").records[0]["restored"]
    after = shop.good(f"{dry} {orders}")
    assert after.records[0]["would_restore"]["seconds"] == round(took["seconds"], 1)
    assert ", as fast as the restore on 20" in after.stderr


def test_a_fresh_host_foretells_a_restore_out_of_drills(shop: Host) -> None:
    orders = shop.table("orders")
    shop.good("tb-run -q")
    drilled = shop.good(f"tb-verify {orders}").records[0]["drilled"]
    assert drilled["bytes_moved"] > 0
    shop.wipe()
    foretold = shop.good(f"tb-restore --dry-run --level3-suffix _new {orders}")
    assert foretold.records[0]["would_restore"]["seconds"] == round(drilled["seconds"], 1)
    assert ", as fast as the drill on 20" in foretold.stderr
