"""What replaces a table stays in its publications and subscriptions; a name taken is told."""

from time import monotonic, sleep

import pytest

from tests.postgres.restoring import Restoring, beside, in_place, table
from tests.postgres.taking import Taking, ask, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError

PUBLISHED = (
    "CREATE TABLE t (id int PRIMARY KEY, word text, secret text)",
    "INSERT INTO t SELECT i, 'w', 's' FROM generate_series(1, 50) i",
    "CREATE TABLE tree (id int) PARTITION BY RANGE (id)",
    "CREATE TABLE leaf PARTITION OF tree FOR VALUES FROM (1) TO (100)",
    "CREATE PUBLICATION few FOR TABLE t (id, word) WHERE (id > 10), leaf",
    "CREATE PUBLICATION more FOR TABLE t, tree WITH (publish_via_partition_root)",
)
MEMBERS = """
SELECT string_agg(concat_ws(' ', pubname, tablename, attnames, rowfilter), E'\n'
                  ORDER BY pubname, tablename) FROM pg_publication_tables
"""


def test_a_table_stays_in_its_publications(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, rare, *PUBLISHED)
    before, chain = ask(old, rare, MEMBERS), [taking.take()]
    objects = [table(rare, "t"), table(rare, "tree")]
    replaced = restoring.all(chain, *map(in_place, objects), overwrite=True)
    assert [getattr(outcome, "notes", outcome) for outcome in replaced.values()] == [(), ()]
    assert ask(old, rare, MEMBERS) == before

    run(old, rare, "DROP TABLE t, tree", "DROP PUBLICATION more")
    dropped = restoring.all(chain, *map(in_place, objects))
    notes = [note for one in dropped.values() for note in getattr(one, "notes", [str(one)])]
    assert [note.partition(":")[0] for note in notes] == [
        'public.t is not in publication "more" again',
        'public.tree is not in publication "more" again',
    ]
    kept = [line for line in before.splitlines() if line.startswith("few")]
    assert ask(old, rare, MEMBERS).splitlines() == kept

    assert restoring.one(chain, beside(objects[0], level3="copy")).notes == ()
    assert ask(old, rare, MEMBERS).splitlines() == kept


def test_replica_identity_and_statistics_targets_are_those_of_the_live_table(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        old, rare, "CREATE TABLE t (id int NOT NULL, word text)", "CREATE UNIQUE INDEX u ON t (id)"
    )
    chain = [taking.take()]
    run(old, rare, "ALTER TABLE t REPLICA IDENTITY USING INDEX u", "ALTER TABLE t ADD late int")
    run(old, rare, "ALTER TABLE t ALTER word SET STATISTICS 7, ALTER late SET STATISTICS 8")
    assert restoring.one(chain, in_place(table(rare, "t")), overwrite=True).notes == ()
    assert ask(old, rare, "SELECT relreplident FROM pg_class WHERE oid = 't'::regclass") == "i"
    targets = "SELECT attstattarget FROM pg_attribute WHERE attrelid = 't'::regclass"
    assert ask(old, rare, f"{targets} AND attname = 'word'") == "7"


def test_a_table_goes_on_receiving_from_its_subscription(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, "postgres", "CREATE DATABASE copy")
    run(old, "copy", "CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION p FOR TABLE t")
    run(old, "copy", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    run(old, rare, "CREATE TABLE t (id int PRIMARY KEY)")
    there = old.conninfo("copy").replace("'", "''")
    options = "create_slot = false, copy_data = false"
    run(old, rare, f"CREATE SUBSCRIPTION s CONNECTION '{there}' PUBLICATION p WITH ({options})")
    try:
        run(old, "copy", "INSERT INTO t SELECT generate_series(1, 50)")
        wait_for(old, rare, 50)
        chain = [taking.take()]
        run(old, "copy", "INSERT INTO t VALUES (51)")
        wait_for(old, rare, 51)
        assert restoring.one(chain, in_place(table(rare, "t")), overwrite=True).notes == ()
        run(old, "copy", "INSERT INTO t VALUES (52)")
        wait_for(old, rare, 51)
        assert ask(old, rare, "SELECT string_agg(id::text, ',') FROM t WHERE id > 50") == "52"
    finally:
        run(old, rare, "DROP SUBSCRIPTION s")


def wait_for(server: PostgresServer, database: str, rows: int) -> None:
    deadline = monotonic() + 30
    while ask(server, database, "SELECT count(*) FROM t") != str(rows):
        assert monotonic() < deadline, "they never came"
        sleep(0.05)


@pytest.mark.parametrize(
    "taken_by", ["DOMAIN {} AS int", "TYPE {} AS ENUM ('a')", "TYPE {} AS (a int)", "SEQUENCE {}"]
)
def test_a_name_that_is_taken_is_said_at_once(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring, taken_by: str
) -> None:
    run(live, database, "CREATE TABLE t AS SELECT 1 AS i")
    chain = [taking.take()]
    run(live, database, "CREATE " + taken_by.format("other"))
    for overwrite in (False, True):
        with pytest.raises(BackupError) as raised:
            restoring.one(chain, beside(table(database, "t"), level3="other"), overwrite=overwrite)
        assert raised.value.code == "postgres.name_taken"


def test_an_event_trigger_that_refuses_is_named(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(live, database, "CREATE SCHEMA guards", "CREATE TABLE t AS SELECT 1 AS i")
    chain = [taking.take()]
    run(
        live,
        database,
        """CREATE FUNCTION guards.frozen() RETURNS event_trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'no changes in %', 'december'; END $$""",
        "CREATE EVENT TRIGGER winter ON ddl_command_start EXECUTE FUNCTION guards.frozen()",
    )
    wanted = beside(table(database, "t"), level3="copy")
    with pytest.raises(BackupError) as raised:
        restoring.one(chain, wanted)
    assert raised.value.code == "postgres.event_trigger"
    assert 'event trigger "winter" of "postgres" refuses it: no changes in december' in str(
        raised.value
    )
    monkeypatch.setenv("PGOPTIONS", "-c event_triggers=off")
    assert restoring.one(chain, wanted).facts["rows"] == 1
