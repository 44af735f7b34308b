"""A materialized view that fills another table is restored in its own place or not at all."""

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError

from .taking import Taking, leftovers, rows, table, view
from .test_backup import insert, make

FILLING = "CREATE MATERIALIZED VIEW {0}.seen TO {0}.`odd ``target` AS SELECT id FROM {0}.hits"
APPENDING = FILLING.replace(" TO ", " REFRESH EVERY 1 YEAR APPEND TO ")
GATHERING = (
    "CREATE MATERIALIZED VIEW {0}.seen ENGINE MergeTree ORDER BY id AS "
    "SELECT id FROM {0}.hits ORDER BY id WITH FILL FROM 1 TO 2"
)
REFRESHED = GATHERING.replace(" ENGINE", " REFRESH EVERY 1 YEAR ENGINE")


def make_view(server: ClickhouseServer, database: str, statement: str) -> None:
    make(server, database, 10)
    server.execute(
        f"CREATE TABLE {database}.`odd ``target` (id UInt64) ENGINE MergeTree ORDER BY id"
    )
    server.execute(statement.format(database))


def target_rows(server: ClickhouseServer, database: str) -> int:
    ((count,),) = server.rows(f"SELECT count() FROM {database}.`odd ``target`")
    return int(count)


@pytest.mark.parametrize("statement", [FILLING, APPENDING], ids=["to", "refresh"])
@pytest.mark.parametrize(
    ("level2", "level3"), [(None, "seen_then"), ("elsewhere", "seen")], ids=["name", "database"]
)
def test_a_copy_that_would_fill_the_same_table_is_refused_and_nothing_is_made(
    live: ClickhouseServer,
    database: str,
    taking: Taking,
    statement: str,
    level2: str | None,
    level3: str,
) -> None:
    make_view(live, database, statement)
    seen = view(database, "seen")
    taking.chain(seen, "SELECT 1")
    for attempt in (taking.restore, taking.plan):
        with pytest.raises(BackupError, match="a second time, as") as refused:
            attempt(seen, level2=level2 or database, level3=level3)
        assert refused.value.code == "clickhouse.fills_twice"
        assert rf"{database}.`odd \`target`" in refused.value.message
        assert "its own place" in refused.value.hint
    assert live.rows("SELECT name FROM system.tables WHERE name = 'seen_then'") == []
    assert live.rows("SELECT name FROM system.databases WHERE name = 'elsewhere'") == []
    assert leftovers(live, database) == []


def test_of_a_whole_database_beside_the_tables_come_and_rows_stay_single(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make_view(live, database, FILLING)
    hits, seen = table(database, "hits"), view(database, "seen")
    taking.take(hits)
    taking.take(seen)
    with pytest.raises(BackupError, match="a second time"):
        taking.restore(seen, level2=f"{database}_then")
    taking.restore(hits, level2=f"{database}_then")
    live.execute(insert(database, 5))
    assert target_rows(live, database) == 5
    assert rows(live, table(f"{database}_then", "hits"))[0][0] == 10


def test_in_its_own_place_it_comes_back_and_fills_its_table(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make_view(live, database, FILLING)
    seen = view(database, "seen")
    taking.chain(seen, "SELECT 1")
    live.execute(f"DROP VIEW {database}.seen SYNC")
    assert taking.restore(seen).notes == ()
    live.execute(insert(database, 5))
    assert target_rows(live, database) == 5
    (note,) = taking.restore(seen, overwrite=True).notes
    assert note.endswith(f"may be in {database}.`odd \\`target` twice")
    live.execute(insert(database, 5))
    assert target_rows(live, database) == 10


@pytest.mark.parametrize("statement", [GATHERING, REFRESHED], ids=["inserts", "refresh"])
def test_a_view_with_rows_of_its_own_comes_back_beside_and_the_other_stays_as_it_is(
    live: ClickhouseServer, database: str, taking: Taking, statement: str
) -> None:
    make_view(live, database, statement)
    seen = view(database, "seen")
    taking.take(seen)
    notes = taking.restore(seen, level3="seen_then").notes
    gathers = "from now on it gathers what is inserted into the tables that it reads, too"
    assert (gathers in notes) == (statement == GATHERING)
    assert taking.plan(seen, level3="seen_again").facts["names"] == [f"{database}.seen_again"]
    live.execute(insert(database, 5))
    counts = [rows(live, view(database, name))[0][0] for name in ("seen", "seen_then")]
    assert counts[0] == counts[1]
