"""Many small tables come back in one transaction; what fails there comes back, or fails, alone."""

import psycopg

from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.base import Restored

from .restoring import Restoring, beside
from .taking import Taking, ask, run, table

_REFUSE = """
CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '%bad_back')
  THEN RAISE 'no bad table here'; END IF;
END $$
"""
_TRANSACTIONS = """
SELECT count(DISTINCT xmin::text) FROM pg_class WHERE relname ~ '^t[0-9]+_back$'
"""
_ROWS = "SELECT string_agg(i || t, ',' ORDER BY i) FROM {}"


def _made(live: PostgresServer, database: str, names: list[str]) -> None:
    for name in names:
        run(
            live,
            database,
            f"CREATE TABLE {name} (i serial PRIMARY KEY, t text NOT NULL)",
            f"INSERT INTO {name} (t) SELECT '{name}' FROM generate_series(1, 3)",
        )


def test_small_tables_share_a_transaction(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    names = [f"t{number}" for number in range(12)]
    _made(live, database, names)
    chain = [taking.take()]
    wanted = [beside(table(database, name), level3=f"{name}_back") for name in names]
    outcomes = restoring.all(chain, *wanted)
    assert all(isinstance(outcome, Restored) for outcome in outcomes.values())
    assert ask(live, database, _TRANSACTIONS) == "1"
    for name in names:
        assert ask(live, database, _ROWS.format(f"{name}_back")) == f"1{name},2{name},3{name}"
        run(live, database, f"INSERT INTO {name}_back (t) VALUES ('next')")
        assert ask(live, database, f"SELECT max(i) FROM {name}_back") == "4"


def test_one_that_fails_does_not_keep_the_others_from_coming_back(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    names = ["t1", "bad", "t2"]
    _made(live, database, names)
    chain = [taking.take()]
    run(live, database, _REFUSE)
    run(
        live,
        database,
        "CREATE EVENT TRIGGER refuse ON ddl_command_end EXECUTE FUNCTION public.refuse()",
    )
    wanted = [beside(table(database, name), level3=f"{name}_back") for name in names]
    outcomes = restoring.all(chain, *wanted)
    refused = {at: one for at, one in outcomes.items() if isinstance(one, BackupError)}
    (error,) = refused.values()
    assert "no bad table here" in error.message
    for name in ("t1", "t2"):
        assert ask(live, database, _ROWS.format(f"{name}_back")) == f"1{name},2{name},3{name}"
    with psycopg.connect(live.conninfo(database)) as connection:
        left = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ 'restore'")
        assert left.fetchall() == []


def test_a_database_that_was_made_is_told_of_though_the_transaction_failed(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    names, other = ["t1", "bad", "t2"], f"{database}_other"
    _made(live, database, names)
    at_home = f"ALTER TABLE bad ADD CHECK (current_database() <> '{other}')"
    run(live, database, at_home)
    chain = [taking.take()]
    wanted = [beside(table(database, name), level1=other) for name in names]
    outcomes = restoring.all(chain, *wanted)
    notes = [note for one in outcomes.values() if isinstance(one, Restored) for note in one.notes]
    assert [isinstance(one, BackupError) for one in outcomes.values()].count(True) == 1
    assert notes == [f"the database {other} was not there, now created"]
