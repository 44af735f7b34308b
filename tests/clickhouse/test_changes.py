"""No update or delete that a SELECT shows is missing in a snapshot, and none is half in it."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from threading import Event, Thread

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError
from three_backup.sources.clickhouse.changes import Change, MixedError, Part

from .taking import Taking, rows, table, view

TABLE = """
CREATE TABLE {} (id UInt32, p UInt8, v UInt32) ENGINE MergeTree ORDER BY id PARTITION BY p
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
"""
INSERT = "INSERT INTO {} SELECT number, number % 2, 0 FROM numbers(1000)"
UPDATE = "UPDATE {} SET v = 7 WHERE id < 500"
DELETE = (
    "DELETE FROM {} WHERE id >= 700 SETTINGS lightweight_delete_mode = 'lightweight_update_force'"
)
SLOW = "ALTER TABLE {} UPDATE v = v + 1 + sleepEachRow(0.001) WHERE 1 SETTINGS mutations_sync = 0"


def make(server: ClickhouseServer, name: str) -> None:
    for statement in (TABLE, INSERT, INSERT):
        server.execute(statement.format(name))


@pytest.mark.parametrize("changes", [(UPDATE,), (DELETE,), (UPDATE, INSERT, DELETE, UPDATE)])
def test_lightweight_changes_come_back(
    live: ClickhouseServer, database: str, taking: Taking, changes: tuple[str, ...]
) -> None:
    name = f"{database}.u"
    make(live, name)
    base = taking.take(table(database, "u"))
    for change in changes:
        live.execute(change.format(name))
    taking.take(table(database, "u"), base)
    taking.restore(table(database, "u"), level3="copy")
    assert rows(live, table(database, "copy")) == rows(live, table(database, "u"))
    assert taking.said == []


def test_lightweight_changes_of_what_a_view_keeps_come_back(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, f"{database}.source")
    live.execute(
        f"CREATE MATERIALIZED VIEW {database}.kept ENGINE MergeTree ORDER BY id "
        "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1 POPULATE "
        f"AS SELECT id, v FROM {database}.source"
    )
    ((inner,),) = live.rows(
        f"SELECT name FROM system.tables WHERE database = '{database}' AND name LIKE '.inner%'"
    )
    live.execute(UPDATE.format(f"{database}.`{inner}`"))
    before = rows(live, view(database, "kept"))
    taking.take(view(database, "kept"))
    live.execute(f"DROP TABLE {database}.kept SYNC")
    taking.restore(view(database, "kept"))
    assert rows(live, view(database, "kept")) == before


def test_what_may_not_be_merged_fails_the_record(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, f"{database}.u")
    live.execute(UPDATE.format(f"{database}.u"))
    taking.settings = replace(taking.settings, clickhouse_apply_patches=False)
    with pytest.raises(BackupError, match="2 lightweight updates would not be in the backup"):
        taking.take(table(database, "u"))
    assert taking.stored_keys() == []


def test_a_mutation_at_work_is_waited_for(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, f"{database}.u")
    live.execute(SLOW.format(f"{database}.u"))
    taking.take(table(database, "u"))
    ((unfinished,),) = live.rows(
        f"SELECT count() FROM system.mutations WHERE database = '{database}' AND NOT is_done"
    )
    assert unfinished == 0
    taking.restore(table(database, "u"), level3="copy")
    assert rows(live, table(database, "copy")) == rows(live, table(database, "u"))
    assert live.rows(f"SELECT DISTINCT v FROM {database}.copy") == [(1,)]


def test_a_mutation_that_stands_still_is_named_and_not_in_it(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, f"{database}.u")
    live.execute(f"SYSTEM STOP MERGES {database}.u")
    live.execute(f"ALTER TABLE {database}.u UPDATE v = 9 WHERE 1 SETTINGS mutations_sync = 0")
    taking.settings = replace(taking.settings, server_timeout=timedelta(seconds=1))
    taking.take(table(database, "u"))
    said = "the mutation (UPDATE v = 9 WHERE 1) was under way: nothing of it is in this snapshot"
    assert taking.said == [f"{table(database, 'u')}: {said}"]
    live.execute(f"SYSTEM START MERGES {database}.u")
    assert said in taking.restore(table(database, "u"), level3="copy").notes
    assert live.rows(f"SELECT DISTINCT v FROM {database}.copy") == [(0,)]


def test_a_table_whose_rows_change_all_the_time_is_never_a_mixture(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    name, over = f"{database}.u", Event()
    make(live, name)

    def change() -> None:
        step = 1
        while not over.is_set():  # an insert marks the step that all older rows have reached
            live.execute(f"UPDATE {name} SET v = {step} WHERE 1")
            live.execute(f"INSERT INTO {name} VALUES ({step}, 0, {step}), ({step}, 1, {step})")
            step += 1
            over.wait(0.1)

    changing = Thread(target=change)
    changing.start()
    try:
        copies = list[str]()
        while len(copies) < 2:
            with suppress(MixedError):
                taking.take(table(database, "u"))
                copies.append(f"copy{len(copies)}")
                taking.restore(table(database, "u"), level3=copies[-1])
        for copy in copies:
            ((least, most),) = live.rows(f"SELECT min(v), max(v) FROM {database}.{copy}")
            assert least >= most - 1
    finally:
        over.set()
        changing.join()


@pytest.mark.parametrize(
    ("parts", "number", "expected"),
    [
        (["all_1_1_0", "all_2_2_0_9"], 5, (True, True, False)),
        (["all_1_4_1_5"], 5, (True, False, False)),
        (["all_1_4_1"], 5, (False, True, False)),
        (["all_1_4_1", "all_7_7_0"], 5, (False, True, True)),
        (["0_7_7_0", "0_8_9_1_11"], 5, (False, False, False)),
    ],
)
def test_names_of_parts_tell_which_changes_they_hold(
    parts: list[str], number: int, expected: tuple[bool, bool, bool]
) -> None:
    change = Change("x", {"all": number})
    assert change.reached(map(Part.of, parts)) == expected
