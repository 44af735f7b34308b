"""What may lie where, from end to end: through the tools, out of S3 alone and on this host."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from three_backup.demo.servers import PostgresServer, SeaweedServer

from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.index import INDEX, Index, Place

from .living import Living, living

HASH = "select count(*), md5(string_agg(t::text, '|' order by id)) from {} t"
NEARBY = "- {}: {{max_stage: snapshot_incremental}}\n"
DISABLED = "- {}: {{disable: true}}\n"
FORCED = "tb-discover | tb-snapshot --incremental | tb-upload"


@pytest.fixture
def host(
    request: pytest.FixtureRequest,
    postgres: PostgresServer,
    server_folder: Path,
    seaweed: SeaweedServer,
    bucket: str,
) -> Iterator[Living]:
    """Beside both versions, one after the other, with tables of its own that are left to it."""
    with living(server_folder, postgres, seaweed, bucket) as host:
        for name in ("users", "secret"):
            host.execute(
                f"create table {name} as select i as id, '{name} ' || md5(i::text) as word"
                " from generate_series(1, 3000) i"
            )
        yield host
        host.execute("drop table if exists users, secret")


def content(host: Living, table: str) -> tuple[object, ...]:
    return host.rows(HASH.format(table))[0]


def local_packs(host: Living) -> list[Path]:
    """Oldest first."""
    return sorted(host.local_dir.rglob("local.pack"), key=lambda path: path.parent.name)


def chain_of_three(host: Living) -> list[str]:
    """A base and two increments, both of which change both tables; gives their ids."""
    taken = [host.good(FORCED)]
    for number in (1, 2):
        host.execute(f"update users set word = 'changed {number}' where id % 50 = {number}")
        host.execute(f"update secret set word = 'changed {number}' where id % 50 = {number}")
        taken.append(host.good(FORCED))
    return [str(outcome.records[0]["snapshot"]["id"]) for outcome in taken]


def test_a_chain_whose_older_rows_are_gone_from_this_host_begins_anew(host: Living) -> None:
    secret = host.table("secret")
    host.configure(NEARBY.format(secret), s3_bucket=None)
    assert [host.turn(secret).kind for _ in range(3)] == ["base", "incremental", "incremental"]
    local_packs(host)[0].unlink()
    turn = host.turn(secret)
    assert (turn.kind, turn.status) == ("base", 0)
    assert re.fullmatch(r"local\.pack of \w+-base is gone from this host", turn.planned["why"])
    local_packs(host)[-1].write_bytes(b"cut short")
    forced = host.good("tb-discover | tb-snapshot --incremental").records[0]
    assert forced["snapshot"]["kind"] == "base"
    assert forced["why"].startswith("local.pack of ")


@pytest.fixture
def locked(host: Living) -> Iterator[Living]:
    """A host whose role may not connect to one of the databases, `locked`, which has a table."""
    host.execute("create role guest login replication")
    host.execute("create database locked")
    host.execute("create table users as select 'inside' as word, 1 as id", "locked")
    host.execute("revoke connect on database locked from public")
    host.environ["PGUSER"] = "guest"
    yield host
    host.execute("drop database locked")
    host.execute("drop role guest")


@pytest.mark.parametrize(
    ("section", "fate", "place", "then"),
    [
        ("", "are stored, but cannot be restored one by one", Place.S3, "incremental"),
        (NEARBY, "stay on this host, because some table has to", Place.LOCAL, "base"),
        (DISABLED, "are left out, because some table is disabled", Place.NONE, "base"),
    ],
)
def test_a_database_that_refuses_us_is_said_and_held_as_strictly_as_anything(
    locked: Living, section: str, fate: str, place: Place, then: str
) -> None:
    locked.configure(section.format(locked.table("secret")), s3_bucket=None)
    users = locked.table("users")
    first = locked.turn(users)
    assert (first.kind, first.status) == ("base", 1)
    assert "nothing is rotated while a part of the carrier cannot be read" in first.planned["why"]
    remedy = 'run as a superuser: GRANT CONNECT ON DATABASE "locked" TO "guest"'
    denied = 'PostgreSQL: permission denied for database "locked"; '
    assert f"tb-discover: {first.taken['carrier']}: {denied}{remedy}" in first.stderr
    said = next(line for line in first.stderr.splitlines() if fate in line)
    assert said.startswith(f"tb-snapshot: {first.taken['carrier']}: {denied}its tables {fate}")
    assert said.endswith(remedy)
    assert places(locked, first.snapshot, "locked", "users") == {place}
    locked.execute("grant connect on database locked to guest")
    second = locked.turn(users)
    assert (second.kind, second.status) == (then, 0), second.stderr
    restored = "tb-restore --level1 postgres --level3 inside postgres/table/locked/public/users"
    locked.good(f"PGUSER=postgres {restored}")
    try:
        assert locked.rows("select * from inside") == [("inside", 1)]
    finally:
        locked.execute("drop table inside")


def test_a_database_that_takes_no_connections_is_said_and_no_failure(host: Living) -> None:
    host.execute("create database closed")
    host.execute("create table users as select 1 as id", "closed")
    host.execute("alter database closed allow_connections false")
    host.configure(DISABLED.format(host.table("secret")), s3_bucket=None)
    try:
        turn = host.turn(host.table("users"))
        assert (turn.kind, turn.status) == ("base", 0)
        assert turn.stderr.count("\n") == 1
        assert 'database "closed" takes no connections; its tables are left out' in turn.stderr
        assert 'ALTER DATABASE "closed" ALLOW_CONNECTIONS true' in turn.stderr
    finally:
        host.execute("drop database closed")


def places(host: Living, snapshot: str, database: str, table: str) -> set[Place]:
    """Where the files of a table went, by their paths: nobody may know the table's name."""
    (path,) = host.rows(f"select pg_relation_filepath('{table}')", database)[0]
    return {file.place for file in index_of(host, snapshot).files.values() if file.path == path}


def index_of(host: Living, snapshot: str) -> Index:
    (stored,) = host.local_dir.glob(f"postgres/cluster/*/{snapshot}/{INDEX}")
    return index_file.load(stored.read_bytes(), snapshot)
