"""Tables and views are listed with their kinds, and an obstacle to one hides no other."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from three_backup.demo.servers import PostgresServer
from three_backup.errors import UnreachableError
from three_backup.sources.base import Found, Unreadable
from three_backup.sources.postgres.source import PostgresSource

from .taking import EVERYWHERE, ask, run


def test_each_kind_is_named_as_what_it_is(live: PostgresServer, database: str) -> None:
    run(
        live,
        database,
        "CREATE SCHEMA sales",
        "CREATE TABLE sales.orders (id int PRIMARY KEY, note text)",
        "CREATE UNLOGGED TABLE sales.passing (id int)",
        "CREATE TABLE sales.parts (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE sales.part PARTITION OF sales.parts FOR VALUES FROM (0) TO (9)",
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER far FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE sales.foreign (id int) SERVER far",
        "CREATE VIEW sales.newest AS SELECT * FROM sales.orders",
        "CREATE MATERIALIZED VIEW sales.counted AS SELECT count(*) FROM sales.orders",
        "CREATE TEMP TABLE gone (id int)",
        "CREATE SEQUENCE sales.numbers",
    )
    found = _found(f"postgres/*/{database}/*")
    assert {
        str(listed.id).removeprefix("postgres/"): listed.facts["kind"] for listed in found
    } == {
        f"table/{database}/sales/orders": "table",
        f"table/{database}/sales/passing": "unlogged table",
        f"table/{database}/sales/parts": "partitioned table",
        f"table/{database}/sales/part": "table",
        f"table/{database}/sales/foreign": "foreign table",
        f"view/{database}/sales/newest": "view",
        f"view/{database}/sales/counted": "materialized view",
    }


def test_a_record_says_how_large_the_table_is_and_where_the_server_stands(
    live: PostgresServer, database: str
) -> None:
    run(live, database, "CREATE TABLE users AS SELECT generate_series(1, 1000) AS id")
    (users,) = _found(f"postgres/table/{database}")
    identifier = ask(live, database, "SELECT system_identifier FROM pg_control_system()")
    assert users.size == int(ask(live, database, "SELECT pg_total_relation_size('users')"))
    assert users.carrier == f"postgres/cluster/{identifier}"
    facts = dict(users.facts)
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", facts.pop("lsn"))
    assert re.fullmatch(rf"PostgreSQL {live.version}\.\d+", facts.pop("server"))
    assert facts == {
        "kind": "table",
        "system_identifier": identifier,
        "timeline": 1,
        "in_recovery": False,
        "summarize_wal": True,
    }


def test_only_what_a_pattern_selects_is_listed(live: PostgresServer, database: str) -> None:
    run(live, database, "CREATE TABLE users (id int)", "CREATE TABLE orders (id int)")
    assert [listed.id.level3 for listed in _found(f"postgres/table/{database}/public/u*")] == [
        "users"
    ]
    assert _found("lxd", "clickhouse/*") == []


def test_a_table_that_is_locked_is_estimated_without_waiting(
    live: PostgresServer, database: str
) -> None:
    run(
        live,
        database,
        "CREATE TABLE users AS SELECT generate_series(1, 1000) AS id",
        "CREATE TABLE free (id int PRIMARY KEY)",
        "VACUUM users",
    )
    size = int(ask(live, database, "SELECT pg_relation_size('users')"))
    with _locked(live, database, "users"):
        began = time.monotonic()
        free, users = _found(f"postgres/table/{database}")
        assert time.monotonic() - began < 5
    assert "size_estimated" not in free.facts
    assert users.facts["size_estimated"] is True
    assert users.size == size


def test_a_database_that_refuses_us_is_unreadable_and_the_others_are_listed(
    live: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(live, database, "CREATE TABLE users (id int)", "CREATE ROLE guest LOGIN")
    run(live, "postgres", f"REVOKE CONNECT ON DATABASE {database} FROM public")
    run(live, "template1", "CREATE TABLE shared (id int)")
    monkeypatch.setenv("PGUSER", "guest")
    try:
        listed = list(PostgresSource().discover([], EVERYWHERE, _unexpected))
    finally:
        run(live, "template1", "DROP TABLE shared")
        run(live, "postgres", "DROP ROLE guest")
    refused = [entry for entry in listed if isinstance(entry, Unreadable)]
    assert [unreadable.id for unreadable in refused] == [f"postgres/table/{database}"]
    assert refused[0].error.code == "postgres.no_connect"
    assert refused[0].error.hint == (
        f'run as a superuser: GRANT CONNECT ON DATABASE "{database}" TO "guest"'
    )
    names = [str(entry.id) for entry in listed if isinstance(entry, Found)]
    assert "postgres/table/template1/public/shared" in names


def test_a_database_that_no_pattern_can_reach_is_not_contacted(
    live: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(live, "postgres", "CREATE ROLE guest LOGIN")
    run(live, "postgres", f"ALTER DATABASE {database} CONNECTION LIMIT 0")
    monkeypatch.setenv("PGUSER", "guest")
    try:
        reached = list(PostgresSource().discover([f"*/{database}/*"], EVERYWHERE, _unexpected))
        _found("postgres/table/postgres/*")
    finally:
        run(live, "postgres", "DROP ROLE guest")
    assert [entry.error.code for entry in reached if isinstance(entry, Unreadable)] == [
        "postgres.no_connection_slot"
    ]


def test_two_thousand_tables_are_listed_quickly_and_in_order(
    live: PostgresServer, database: str
) -> None:
    run(
        live,
        database,
        "DO $$BEGIN FOR n IN 1..2000 LOOP EXECUTE format('CREATE TABLE t%s (id int)', n);"
        " IF n % 500 = 0 THEN COMMIT; END IF; END LOOP; END$$",
    )
    began = time.monotonic()
    found = _found(f"postgres/table/{database}")
    assert time.monotonic() - began < 10
    names = [listed.id.level3 for listed in found]
    assert len(names) == 2000
    assert names == sorted(names)


def test_a_server_that_is_not_there_makes_the_source_unreachable(
    live: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(UnreachableError, match=r"does not answer: .*No such file or directory"):
        _found("postgres")


def _found(*patterns: str) -> list[Found]:
    listed = list(PostgresSource().discover(patterns, EVERYWHERE, _unexpected))
    assert all(isinstance(entry, Found) for entry in listed)
    return [entry for entry in listed if isinstance(entry, Found)]


@contextmanager
def _locked(server: PostgresServer, database: str, name: str) -> Iterator[None]:
    with psycopg.connect(server.conninfo(database)) as connection:
        connection.execute(f"LOCK TABLE {name}".encode())
        yield


def _unexpected(sentence: str) -> None:
    raise AssertionError(sentence)
