"""Settings of databases and roles change no restored value, and stop no restore."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.postgres.restoring import Restoring, beside, table
from tests.postgres.taking import Taking, ask, run
from three_backup.catalog.files import Files
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.restoring.revive import Revived, revived
from three_backup.sources.postgres.restoring.target import connect_target

VALUES = """
CREATE TABLE t AS
SELECT date '2020-03-04' AS day, timestamptz '2020-03-04 12:00:00+00' AS moment,
       interval '-1 day -2:03:04' AS before, interval '-1 day +2:03' AS between,
       0.1::float8 + 0.2::float8 AS number, 12.34::money AS price, bytea '\\x00ff' AS bytes,
       ARRAY[NULL, 'NULL', 'word'] AS words
"""
EXACTLY = """
SELECT (to_char(day, 'YYYY-MM-DD'), extract(epoch FROM moment), extract(epoch FROM before),
        extract(epoch FROM between), float8send(number), price::numeric, encode(bytes, 'hex'),
        words[1] IS NULL, words[2])::text FROM {}
"""
ODD = (
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'sql_standard'",
    "extra_float_digits = 0",
    "bytea_output = 'escape'",
    "array_nulls = off",
    "timezone = 'Asia/Kolkata'",
    "idle_session_timeout = '50ms'",
    "role = 'pg_monitor'",
)


def test_values_come_back_equal_whatever_the_source_was_set_to(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, VALUES)
    run(live, "postgres", *(f"ALTER DATABASE {database} SET {setting}" for setting in ODD[:5]))
    run(
        live, "postgres", *(f"ALTER ROLE postgres IN DATABASE {database} SET {o}" for o in ODD[5:])
    )
    chain = [taking.take()]
    run(live, "postgres", f"ALTER DATABASE {database} RESET ALL")
    run(live, "postgres", f"ALTER ROLE postgres IN DATABASE {database} RESET ALL")
    restoring.one(chain, beside(table(database, "t"), level3="copy"))
    assert ask(live, database, EXACTLY.format("copy")) == ask(live, database, EXACTLY.format("t"))


def test_values_come_back_equal_whatever_the_target_and_the_environment_are_set_to(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(live, database, VALUES)
    chain = [taking.take()]
    run(live, "postgres", *(f"ALTER DATABASE {database} SET {setting}" for setting in ODD[:6]))
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    restoring.one(chain, beside(table(database, "t"), level3="copy"))
    monkeypatch.delenv("PGDATESTYLE")
    run(live, "postgres", f"ALTER DATABASE {database} RESET ALL")
    assert ask(live, database, EXACTLY.format("copy")) == ask(live, database, EXACTLY.format("t"))


@pytest.fixture
def second(old: PostgresServer, rare: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Another superuser, as which `PG*` connect to the server."""
    run(old, "postgres", "CREATE ROLE second SUPERUSER LOGIN")
    monkeypatch.setenv("PGUSER", "second")
    yield "second"
    run(old, rare, "DROP OWNED BY second", "DROP ROLE second")


@contextmanager
def altered(server: PostgresServer, attributes: str) -> Iterator[None]:
    """Give the bootstrap superuser these attributes during the block."""
    conninfo = server.conninfo().replace("user=postgres", "user=second")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE postgres {attributes}".encode())
        try:
            yield
        finally:
            connection.execute("ALTER ROLE postgres LOGIN VALID UNTIL 'infinity'")
            connection.execute("ALTER ROLE postgres CONNECTION LIMIT -1")


@pytest.mark.parametrize("attributes", ["NOLOGIN", "CONNECTION LIMIT 0 VALID UNTIL '2001-01-01'"])
def test_a_bootstrap_superuser_who_may_not_log_in_keeps_no_table_from_coming_back(
    old: PostgresServer,
    rare: str,
    second: str,
    taking: Taking,
    restoring: Restoring,
    attributes: str,
) -> None:
    run(old, rare, "CREATE TABLE t AS SELECT 7 AS i")
    with altered(old, attributes):
        chain = [taking.take()]
        restoring.one(chain, beside(table(rare, "t"), level3="copy"))
    assert ask(old, rare, "SELECT i FROM copy") == "7"


@contextmanager
def on_scratch(restoring: Restoring, chain: list[Files], database: str) -> Iterator[Revived]:
    object_id = table(database, "t")
    opened = OpenedChain(chain, lambda size: None, lambda size: None)
    with revived(
        restoring.job(chain, beside(object_id, level3="copy")), opened, [object_id]
    ) as scratch:
        yield scratch


@pytest.mark.parametrize("query", ["SELECT 1/0", "SELECT pg_terminate_backend(pg_backend_pid())"])
def test_a_failure_of_the_scratch_server_does_not_send_anybody_to_the_live_one(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring, query: str
) -> None:
    run(live, database, "CREATE TABLE t (i int)")
    chain = [taking.take()]
    with (
        on_scratch(restoring, chain, database) as scratch,
        pytest.raises(
            BackupError, match=rf"the scratch server fails on database {database}: "
        ) as e,
        scratch.server.connect(database) as source,
        connect_target(database) as target,
        target.transaction(),
    ):
        source.execute(query.encode())
    assert "PostgreSQL: " not in str(e.value)
