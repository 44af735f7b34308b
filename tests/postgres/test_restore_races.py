"""Under load, tables that change shape during a backup come back as they were at its end."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.postgres.restoring import Restoring, beside, rows, table, view
from tests.postgres.taking import Taking, ask, run
from three_backup.catalog.files import Files
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.restoring.revive import revived

DATABASE = "races"
SPACE = "races_space"
WHEN = ("early", "midway")
PLAIN = ("a", "b", "vacuumed", "clustered", "retyped", "truncated", "remade", "moved", "indexed")
BALANCES = {
    "pgbench_accounts": "abalance",
    "pgbench_branches": "bbalance",
    "pgbench_tellers": "tbalance",
    "pgbench_history": "delta",
}
"""Columns with equal sums: a pgbench transaction adds the same number in every table."""


def first_shapes(schema: str) -> list[str]:
    """Return statements that create the tables; every 50th row has a part in TOAST."""
    plain = [
        f"""CREATE TABLE {name} AS
            SELECT i, '{name}' AS n, CASE WHEN i % 50 = 0 THEN (SELECT string_agg(md5(g::text), '')
                                       FROM generate_series(i, i + 500) g) END AS large
              FROM generate_series(1, 300) i"""
        for name in (*PLAIN, "bystander", "gone1", "gone2")
    ]
    indexes = [f"ALTER TABLE {name} ADD PRIMARY KEY (i)" for name in (*PLAIN, "bystander")]
    return [
        f"CREATE SCHEMA {schema}",
        f"SET search_path = {schema}",
        *plain,
        *indexes,
        "CREATE TABLE m (i int, v text) PARTITION BY RANGE (i)",
        *(
            f"CREATE TABLE m{n} PARTITION OF m FOR VALUES FROM ({n}0) TO ({n + 1}0)"
            for n in (1, 2, 3)
        ),
        "CREATE INDEX ON m (i)",
        "INSERT INTO m SELECT i, 'v' || i FROM generate_series(10, 39) i",
        "CREATE TABLE m4 AS SELECT i, 'w' AS v FROM generate_series(40, 49) i",
        "CREATE MATERIALIZED VIEW counted AS SELECT n, count(*) FROM truncated GROUP BY n",
    ]


def shapes(schema: str, number: int) -> list[str]:
    """Return statements to run during a backup; the second time undoes much of the first."""
    first = number == 1
    joining, leaving = ("m4", "m1") if first else ("m1", "m4")
    bounds = {"m1": "FROM (10) TO (20)", "m4": "FROM (40) TO (50)"}
    space = SPACE if first else "pg_default"
    return [
        f"SET search_path = {schema}",
        "ALTER TABLE a RENAME TO c",
        "ALTER TABLE b RENAME TO a",
        "ALTER TABLE c RENAME TO b",
        f"UPDATE a SET n = n || ' {number}' WHERE i < 50",
        "VACUUM FULL vacuumed",
        "UPDATE vacuumed SET n = n || '!' WHERE i % 7 = 0",
        "VACUUM FULL vacuumed",
        "CLUSTER clustered USING clustered_pkey",
        f"ALTER TABLE retyped ALTER i TYPE {'bigint' if first else 'int'}",
        "TRUNCATE truncated",
        f"INSERT INTO truncated SELECT i, 'again {number}' FROM generate_series(1, 100) i",
        "REFRESH MATERIALIZED VIEW counted",
        "DROP TABLE remade",
        f"CREATE TABLE remade AS SELECT i, 'remade {number}' AS n FROM generate_series(1, 99) i",
        f"CREATE TABLE young{number} AS SELECT i, md5(i::text) FROM generate_series(1, 999) i",
        f"DROP TABLE gone{number}",
        f"ALTER TABLE moved SET TABLESPACE {space}",
        f"ALTER INDEX moved_pkey SET TABLESPACE {space}",
        f"UPDATE moved SET n = n || 'moved {number}'",
        f"CREATE INDEX made_{number} ON indexed (n, i)",
        "UPDATE indexed SET n = n || i",
        "REINDEX TABLE indexed",
        "REINDEX TABLE CONCURRENTLY indexed",
        f"ALTER TABLE m ATTACH PARTITION {joining} FOR VALUES {bounds[joining]}",
        f"ALTER TABLE m DETACH PARTITION {leaving}",
        f"UPDATE {leaving} SET v = 'left {number}' WHERE i % 2 = 0",
        f"UPDATE m SET v = v || ' {number}' WHERE i % 3 = 0",
    ]


def there_after(schema: str, number: int) -> list[ObjectId]:
    """Return the objects that exist when the backup ends."""
    young = [f"young{n}" for n in range(1, number + 1)]
    staying = ["gone2"] if number == 1 else []
    names = (*PLAIN, "bystander", *young, *staying, "m", "m1", "m2", "m3", "m4")
    return [table(DATABASE, name, schema) for name in names] + [view(DATABASE, "counted", schema)]


@pytest.fixture
def racetrack(server_folder: Path, live: PostgresServer) -> Iterator[PostgresServer]:
    folder = server_folder / SPACE
    folder.mkdir()
    shutil.chown(folder, live.pgdata.owner(), live.pgdata.group())
    run(live, "postgres", f"CREATE TABLESPACE {SPACE} LOCATION '{folder}'")
    run(live, "postgres", f"CREATE DATABASE {DATABASE}")
    yield live
    for name in (DATABASE, "copy1", "copy2"):
        run(live, "postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    run(live, "postgres", f"DROP TABLESPACE {SPACE}")
    shutil.rmtree(folder)


@contextmanager
def load(server: PostgresServer) -> Iterator[None]:
    """Run pgbench during the block; check that it lasts until the end."""
    pgbench = [str(server.bindir / "pgbench"), "--no-vacuum", "--client=2", "--rate=400"]
    argv = [*pgbench, "--time=600", DATABASE]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environ = {**os.environ, **server.environ}
    with subprocess.Popen(argv, env=environ, **quiet) as process:  # type: ignore[call-overload]
        try:
            done = "SELECT count(*) > 20 FROM pgbench_history"
            while ask(server, DATABASE, done) != "True":
                assert process.poll() is None
            yield
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGINT)


def race(live: PostgresServer, taking: Taking, number: int, parent: Files | None) -> Files:
    early, midway = (
        (lambda schema=schema: run(live, DATABASE, *shapes(schema, number))) for schema in WHEN
    )
    with load(live):
        return taking.take(parent, meanwhile=early, midway=midway)


def check_indexes(restoring: Restoring, chain: list[Files], objects: list[ObjectId]) -> int:
    """Check B-trees on the scratch server against their tables (amcheck); return how many."""
    wanted = restoring.job(chain, *(beside(object_id, level1="copy") for object_id in objects))
    query = """
        SELECT count(public.bt_index_check(i.indexrelid, true))
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid
           AND NOT EXISTS (SELECT FROM pg_namespace n WHERE n.oid = c.relnamespace
                              AND n.nspname IN ('pg_catalog', 'information_schema'))"""
    with (
        revived(
            wanted, OpenedChain(chain, lambda size: None, lambda size: None), objects
        ) as scratch,
        scratch.server.connect(DATABASE) as connection,
    ):
        connection.execute("CREATE EXTENSION amcheck SCHEMA public")
        ((checked,),) = connection.execute(query.encode())
        return int(checked)


def test_races_under_load_in_a_base_and_in_an_incremental(
    racetrack: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    live = racetrack
    subprocess.run(
        [live.bindir / "pgbench", "--initialize", "--quiet", "--foreign-keys", DATABASE],
        env={**os.environ, **live.environ},
        check=True,
        capture_output=True,
    )
    for schema in WHEN:
        run(live, DATABASE, *first_shapes(schema))
    busy = [table(DATABASE, name) for name in BALANCES]
    chain: list[Files] = []
    for number in (1, 2):
        chain.append(race(live, taking, number, chain[-1] if chain else None))
        shaped = [object_id for schema in WHEN for object_id in there_after(schema, number)]
        then = {object_id: rows(live, object_id) for object_id in shaped}
        gone = [table(DATABASE, f"gone{number}", schema) for schema in WHEN]
        copy, wanted = f"copy{number}", [*shaped, *busy, *gone]

        outcomes = restoring.all(chain, *(beside(object_id, level1=copy) for object_id in wanted))

        failures = [
            str(outcome) for outcome in outcomes.values() if isinstance(outcome, BackupError)
        ]
        assert len(failures) == len(gone)
        assert all("did not exist at the end of the snapshot" in failure for failure in failures)
        for object_id, expected in then.items():
            assert rows(live, replace(object_id, level1=copy)) == expected, object_id
        sums = {
            ask(live, copy, f"SELECT sum({what}) FROM {name}") for name, what in BALANCES.items()
        }
        assert len(sums) == 1
    everything = [object_id for schema in WHEN for object_id in there_after(schema, 2)]
    assert check_indexes(restoring, chain, [*everything, *busy]) > 60
