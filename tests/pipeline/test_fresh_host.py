"""A host with only the configuration lists what is stored and restores it in working order."""

from collections.abc import Iterator

import pytest

from tests.pipeline.conftest import Host, store
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.host.machine import Host as Machine
from three_backup.s3.neighbours import some_neighbours
from three_backup.s3.ownership import claim

SHOP = """
create table orders (id int primary key, customer int);
insert into orders select i, i % 50 + 1 from generate_series(1, 500) i;
create table customers (id int primary key, name text);
insert into customers select i, 'c' || i from generate_series(1, 50) i;
alter table orders add foreign key (customer) references customers;
create view early as select 1 as id;
create view late as select id from orders;
create or replace view early as select id from late;
"""
VISITS = (
    "CREATE TABLE {}.hits ENGINE MergeTree ORDER BY id AS SELECT number AS id FROM numbers(1000)",
    "CREATE VIEW {}.a_some AS SELECT id FROM {}.hits WHERE id < 10",
    "CREATE VIEW {}.z_few AS SELECT id FROM {}.a_some WHERE id < 3",
)


@pytest.fixture(scope="module")
def lost(host_of_module: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host that backed up both servers and then lost its local files."""
    host = host_of_module
    environ = {**clickhouse.environ, "PATH": f"{clickhouse.bindir}:{host.environ['PATH']}"}
    host.environ.update(environ)
    clickhouse.execute(f"CREATE DATABASE {host.database}")
    for statement in VISITS:
        clickhouse.execute(statement.format(*[host.database] * 2))
    host.execute(SHOP)
    host.execute("create table left_early as select 1 as id")
    host.good(f"tb-run -s '*/{host.database}/*'")
    host.execute("drop table left_early")
    host.good(f"tb-discover -s {host.table('orders')} | tb-snapshot --incremental | tb-upload")
    host.wipe()
    yield host
    clickhouse.execute(f"DROP DATABASE IF EXISTS {host.database} SYNC")


@pytest.fixture
def empty(lost: Host, clickhouse: ClickhouseServer) -> Host:
    """The host without its databases and local files: only S3 is left."""
    lost.wipe()
    clickhouse.execute(f"DROP DATABASE IF EXISTS {lost.database} SYNC")
    lost.execute(f"drop database if exists {lost.database} with (force)", "postgres")
    return lost


def everything_is_back(host: Host, clickhouse: ClickhouseServer) -> None:
    assert host.rows("select count(*), sum(customer) from orders") == [(500, 12750)]
    assert host.rows("select count(*) from early") == [(500,)]
    assert host.rows(
        "select confrelid::regclass::text from pg_constraint where contype = 'f'"
    ) == [("customers",)]
    assert clickhouse.rows(f"SELECT count() FROM {host.database}.z_few") == [(3,)]


def contents(host: Host, prefix: str = "") -> dict[str, object]:
    """Return the size and the time of every key in the bucket."""
    return {entry.key: entry._replace(key="") for entry in store(host, prefix).all_keys("")}


def test_everything_that_is_selected_comes_back_in_an_order_that_works(
    empty: Host, clickhouse: ClickhouseServer
) -> None:
    stored = empty.good(f"tb-discover --stored -s '*/{empty.database}/*'").stdout
    outcome = empty.good("tb-restore", stored)
    everything_is_back(empty, clickhouse)
    notes = {record["level3"]: record["restored"].get("notes") for record in outcome.records}
    assert len(notes) == 8
    assert "newer snapshots" in notes.pop("left_early")[0]
    created = [f"the database {empty.database} was not there, now created"]
    assert [noted for noted in notes.values() if noted] == [created]
    summary = outcome.stderr[outcome.stderr.index("8 objects restored") :].split()
    rows = sum(record["restored"].get("rows", 0) for record in outcome.records)
    assert summary[summary.index("rows") + 1] == str(rows) == "1551"
    assert {"postgres", "clickhouse", "read", "took"} <= set(summary)


def test_what_another_host_stored_is_read_and_never_written(
    empty: Host, clickhouse: ClickhouseServer
) -> None:
    before = contents(empty)
    empty.configure(s3_prefix="new")
    chosen = f"-s '*/{empty.database}/*'"
    assert empty.sh(f"tb-discover --stored {chosen}").status == 1
    records = empty.good(f"tb-discover --stored --s3-prefix host {chosen}")
    assert {record["s3_prefix"] for record in records.records} == {"host"}
    listed = empty.good(f"tb-list --stored --s3-prefix host --snapshots {chosen} < /dev/null")
    assert "incremental" in listed.stdout
    for tool in ("tb-restore", "tb-rotate"):
        refused = empty.sh(tool, records.stdout)
        assert refused.status == 1
        assert {record["error"]["code"] for record in refused.records} == {"input.foreign"}
    empty.good("tb-restore --s3-prefix host", records.stdout)
    everything_is_back(empty, clickhouse)
    assert contents(empty) == before
    empty.configure()


@pytest.mark.parametrize("tool", ["plan", "snapshot", "upload", "run", "discover"])
def test_who_writes_knows_no_prefix_of_others(lost: Host, tool: str) -> None:
    refused = lost.sh(f"tb-{tool} --s3-prefix other")
    assert (refused.status, refused.stdout) == (2, "")


def test_the_prefix_of_another_host_is_read_or_nothing(empty: Host) -> None:
    empty.configure(s3_endpoint="http://127.0.0.1:9", s3_prefix="new")
    refused = empty.sh(f"tb-restore --s3-prefix host {empty.table('orders')}")
    assert (refused.status, refused.stdout) == (69, "")
    empty.configure()


@pytest.mark.parametrize(
    ("command", "status", "failed"),
    [
        ("tb-list --stored", 0, []),
        ("tb-list --stored -s postgres", 1, []),
        ("tb-list --stored --s3-prefix hots", 0, []),
        ("tb-discover --stored", 0, []),
        ("tb-discover --stored -s postgres", 1, ["postgres"]),
        ("tb-restore 'postgres/*'", 1, []),
        ("tb-restore --s3-prefix hots postgres/table/shop/public/orders", 1, []),
        ("tb-restore --pgdata main 'postgres/*'", 1, []),
        ("tb-verify 'postgres/*'", 1, ["postgres/*"]),
    ],
)
def test_where_nothing_is_stored_it_is_said_where_something_is(
    empty: Host, command: str, status: int, failed: list[str]
) -> None:
    empty.configure(s3_prefix="new")
    outcome = empty.sh(f"{command} < /dev/null")
    assert outcome.status == status
    assert [record.get("select") for record in outcome.records] == failed
    prefix = "hots" if "hots" in command else "new"
    assert f"nothing is stored below s3://{empty.bucket}/{prefix}" in outcome.stderr
    assert ("local" in outcome.stderr) == (prefix == "new" and "verify" not in command)
    assert "hosts stored below host: read that with --s3-prefix host" in outcome.stderr
    empty.configure()


def test_prefixes_are_found_wherever_they_lie(empty: Host) -> None:
    nested = store(empty, "team/db7")
    claim(nested, Machine("another"))
    prefixes = ("", "host", "new", "team/db8")
    found = {prefix: some_neighbours(store(empty, prefix)) for prefix in prefixes}
    assert found == {"": ["host"], "host": [], "new": ["host"], "team/db8": ["team/db7"]}
    nested.delete(["owner.json"])


def test_without_a_configuration_it_is_said_where_one_belongs(empty: Host) -> None:
    nowhere = {"THREE_BACKUP_CONFIG": "", "XDG_STATE_HOME": str(empty.folder / "state")}
    outcome = empty.sh("tb-list --stored < /dev/null", environ=nowhere)
    assert "no bucket is configured" in outcome.stderr
    assert "/etc/three_backup.yaml" in outcome.stderr


def test_who_is_fed_nothing_does_not_say_that_all_went_well(empty: Host) -> None:
    outcome = empty.sh("tb-discover -c /nowhere.yaml | tb-restore")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "no records came on standard input, so that nothing is restored" in outcome.stderr


def test_a_dry_run_says_what_will_be_read_and_made_and_touches_nothing(
    empty: Host, clickhouse: ClickhouseServer
) -> None:
    stored = empty.good(f"tb-discover --stored -s '*/{empty.database}/*'").stdout
    empty.wipe()
    before = contents(empty)
    planned = empty.good("tb-restore --dry-run", stored)
    assert "nothing was touched; 8 objects can be restored" in planned.stderr
    assert not empty.local_dir.exists()
    assert contents(empty) == before
    query = f"select from pg_database where datname = '{empty.database}'"
    assert empty.rows(query, "postgres") == []
    database = f"SELECT name FROM system.databases WHERE name = '{empty.database}'"
    assert clickhouse.rows(database) == []
    plans = {record["level3"]: record["would_restore"] for record in planned.records}
    assert all(f"database {empty.database}" in plan["creates"] for plan in plans.values())
    assert plans["orders"]["names"] == ["public.orders", "public.orders_pkey"]
    assert plans["early"]["depends_on"][-1] == "view public.late"
    assert [len(plans[name]["chain"]) for name in ("orders", "left_early")] == [2, 1]
    done = empty.good("tb-restore", stored).records
    read = {record["level3"]: record["restored"]["bytes_read"] for record in done}
    # ClickHouse may read a byte more or less of its description of a backup.
    assert {name: plan["bytes_read"] for name, plan in plans.items()} == pytest.approx(read, abs=9)
    assert all(plan["read_from"].get("s3", 0) == plan["bytes_read"] for plan in plans.values())
    refused = empty.sh("tb-restore --dry-run", stored)
    assert refused.status == 1
    assert {record["error"]["code"] for record in refused.records} == {
        "postgres.target_exists",
        "clickhouse.exists",
    }
