"""Restores: equal, checked, under any name; a restore that fails leaves the target untouched."""

from dataclasses import replace

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError
from three_backup.model.objects import Carrier
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.task import prepare
from three_backup.sources.jobs import Wanted

from .taking import Taking, leftovers, rows, table, view
from .test_backup import ROWS, insert, make


def test_each_link_of_a_chain_comes_back_as_it_was(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 1000)
    hits, states = table(database, "hits"), []
    manifest = None
    for change in ("SELECT 1", insert(database, 10), f"OPTIMIZE TABLE {database}.hits FINAL"):
        live.execute(change)
        manifest = taking.take(hits, manifest)
        states.append(rows(live, hits))
    for number, state in enumerate(states):
        restored = taking.restore(hits, last=number, level3=f"hits_{number}")
        assert rows(live, table(database, f"hits_{number}")) == state
        assert restored.facts["rows"] == state[0][0]
        assert restored.facts["bytes_read"] > 0
    assert leftovers(live, database) == []


def test_a_lost_table_comes_back_in_place_and_a_live_one_is_refused(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 100)
    hits = table(database, "hits")
    before = rows(live, hits)
    taking.take(hits)
    with pytest.raises(BackupError, match="there is one already") as refused:
        taking.restore(hits)
    assert "--overwrite" in refused.value.hint
    live.execute(f"DROP DATABASE {database} SYNC")
    taking.restore(hits)
    assert rows(live, hits) == before


def test_overwrite_replaces_and_never_appends(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 100)
    hits = table(database, "hits")
    live.execute(
        f"CREATE MATERIALIZED VIEW {database}.seen ENGINE MergeTree ORDER BY id AS "
        f"SELECT id FROM {database}.hits"
    )
    before = rows(live, hits)
    taking.take(hits)
    live.execute(insert(database, 50))
    taking.restore(hits, overwrite=True)
    assert rows(live, hits) == before
    live.execute(insert(database, 7))
    assert live.rows(f"SELECT count() FROM {database}.seen") == [(57,)]
    assert leftovers(live, database) == []


def test_views_materialized_views_and_dictionaries_come_back(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 100)
    live.execute(f"CREATE VIEW {database}.words AS SELECT word FROM {database}.hits")
    live.execute(
        f"CREATE MATERIALIZED VIEW {database}.seen ENGINE MergeTree ORDER BY id POPULATE AS "
        f"SELECT id FROM {database}.hits"
    )
    live.execute(
        f"CREATE DICTIONARY {database}.lookup (id UInt64, word String) PRIMARY KEY id "
        f"SOURCE(CLICKHOUSE(DB '{database}' TABLE 'hits')) LIFETIME(0) LAYOUT(FLAT())"
    )
    words, seen = view(database, "words"), view(database, "seen")
    lookup = table(database, "lookup")
    before = [rows(live, words), rows(live, seen)]
    for object_id in (words, seen, lookup):
        taking.take(object_id)
    assert ["may hold a password" in said for said in taking.said] == [True]
    for name, statement in (("words", "VIEW"), ("seen", "VIEW"), ("lookup", "DICTIONARY")):
        live.execute(f"DROP {statement} {database}.{name} SYNC")
    for object_id in (words, seen, lookup):
        taking.restore(object_id)
        taking.restore(object_id, overwrite=True)
    assert [rows(live, words), rows(live, seen)] == before
    engines = dict(
        live.rows(f"SELECT name, engine FROM system.tables WHERE database='{database}'")
    )
    assert engines["lookup"] == "Dictionary"
    live.execute(insert(database, 5))
    assert live.rows(f"SELECT count() FROM {database}.seen") == [(105,)]
    assert leftovers(live, database) == []


@pytest.mark.parametrize("engine", ["Log", "TinyLog", "StripeLog", "Memory"])
def test_other_engines_that_store_rows_come_back(
    live: ClickhouseServer, database: str, taking: Taking, engine: str
) -> None:
    live.execute(f"CREATE TABLE {database}.small ENGINE {engine} AS {ROWS.format(50)}")
    small = table(database, "small")
    before = rows(live, small)
    taking.chain(small, f"INSERT INTO {database}.small {ROWS.format(5)}")
    after = rows(live, small)
    taking.restore(small, last=0, level3="then")
    taking.restore(small, level3="now")
    assert [rows(live, table(database, name)) for name in ("then", "now")] == [before, after]


def test_what_is_definition_only_comes_back_empty_and_says_so(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    live.execute(f"CREATE TABLE {database}.joined (id UInt64) ENGINE Join(ANY, LEFT, id)")
    live.execute(f"INSERT INTO {database}.joined VALUES (1)")
    joined = table(database, "joined")
    assert taking.take(joined).objects[0].facts["data"] == "definition only"
    restored = taking.restore(joined, level3="again")
    assert restored.notes == ("ClickHouse backs up the definition of Join only, not its rows",)
    assert "rows" not in restored.facts


def test_a_view_in_another_database_says_what_it_reads(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 10)
    live.execute(f"CREATE VIEW {database}.words AS SELECT word FROM {database}.hits")
    taking.take(view(database, "words"))
    restored = taking.restore(view(database, "words"), level2=f"{database}_copy")
    assert restored.notes == (f"it reads from the tables of {database}, as it did before",)


def test_a_flipped_byte_is_found_and_the_target_stays(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database)
    hits = table(database, "hits")
    taking.take(hits)
    live.execute(insert(database, 3))
    before = rows(live, hits)
    (victim,) = [key for key in taking.stored_keys() if key.endswith("data.bin")]
    body = bytearray(taking.store.read(victim))
    body[len(body) // 2] ^= 1
    taking.store.write(victim, bytes(body))
    with pytest.raises(BackupError) as refused:
        taking.restore(hits, overwrite=True)
    assert refused.value.code == "clickhouse.damaged"
    assert rows(live, hits) == before
    assert leftovers(live, database) == []


def test_a_file_that_is_gone_from_s3_is_an_error_and_leaves_nothing(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 100)
    taking.take(table(database, "hits"))
    taking.store.delete([key for key in taking.stored_keys() if key.endswith("data.bin")])
    with pytest.raises(BackupError, match="clickhouse/table/default"):
        taking.restore(table(database, "hits"), level3="again")
    assert leftovers(live, database) == []


def test_a_chain_in_a_moved_prefix_comes_back(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 100)
    hits = table(database, "hits")
    taking.chain(hits, insert(database, 1), insert(database, 2), insert(database, 3))
    before = rows(live, hits)
    moved = Taking(live, replace(taking.storage, prefix="elsewhere"))
    for key in taking.stored_keys(""):
        moved.store.write(key, taking.store.read(key))
        taking.store.delete([key])
    for _ in range(2):
        moved.restore(hits, level3="moved", overwrite=True)
        assert rows(live, table(database, "moved")) == before
    newest = moved.catalog.manifest(Carrier(hits), moved.catalog.snapshots(Carrier(hits))[-1])
    moved.skip(100)
    live.execute(insert(database, 4))
    moved.take(hits, newest)
    moved.restore(hits, level3="moved", overwrite=True)
    assert rows(live, table(database, "moved")) == rows(live, hits)


def test_another_cluster_than_that_of_the_server_is_refused(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 10)
    taking.take(table(database, "hits"))
    with pytest.raises(BackupError, match="belongs to cluster default") as refused:
        taking.restore(table(database, "hits"), level1="other")
    assert "--level1 default" in refused.value.hint


def test_a_restore_clears_up_behind_one_that_was_killed(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database, 10)
    hits = table(database, "hits")
    taking.take(hits)
    with pytest.raises(BackupError):
        taking.restore(hits)
    before = rows(live, hits)
    taking.restore(hits, level3="again")
    (name,) = _names_used(live, database)
    live.execute(f"DROP TABLE {database}.again SYNC")
    live.execute(f"CREATE TABLE {database}.`{name}` (half UInt8) ENGINE Memory")
    taking.restore(hits, level3="again")
    assert rows(live, table(database, "again")) == before
    assert leftovers(live, database) == []


def _names_used(server: ClickhouseServer, database: str) -> list[str]:
    """Return the temporary table names of the newest restore, from the id of its operation."""
    found = server.rows(
        "SELECT id FROM system.backups WHERE status = 'RESTORED' ORDER BY start_time DESC LIMIT 1"
    )
    return [
        ".tb-restore-" + operation_id.removeprefix("three_backup.tb-restore-")[:16]
        for (operation_id,) in found
    ]


def test_what_a_server_creates_only_if_told_to_comes_back(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    allowed = "allow_suspicious_low_cardinality_types = 1, allow_suspicious_variant_types = 1"
    live.execute(
        f"SET {allowed}; CREATE TABLE {database}.odd "
        "(id LowCardinality(UInt8), v Variant(UInt32, UInt64)) ENGINE MergeTree ORDER BY id"
    )
    live.execute(f"INSERT INTO {database}.odd VALUES (1, 1), (2, 2)")
    live.execute(
        "SET allow_experimental_time_series_table = 1; "
        f"CREATE TABLE {database}.series ENGINE TimeSeries"
    )
    for name in ("odd", "series"):
        taking.take(table(database, name))
    assert taking.restore(table(database, "odd"), level3="copy").facts["rows"] == 2
    assert taking.drill(table(database, "odd")).facts["rows"] == 2
    sample = "(metric_name, tags, samples) VALUES ('up', {'a': 'b'}, [(now64(3), 1.0)])"
    live.execute(f"INSERT INTO {database}.series {sample}")
    taking.take(table(database, "series"))
    assert taking.restore(table(database, "series"), level3="more").notes == ()
    assert live.rows(f"SELECT count() FROM timeSeriesSamples('{database}', 'more')") == [(1,)]


def test_a_view_that_each_refresh_adds_to_keeps_its_rows(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    name = f"{database}.log"
    live.execute(
        f"CREATE MATERIALIZED VIEW {name} REFRESH EVERY 1 YEAR APPEND ENGINE MergeTree "
        "ORDER BY id AS SELECT now64(9) AS at, number AS id FROM numbers(5)"
    )
    live.execute(f"SYSTEM WAIT VIEW {name}")
    ((newest,),) = live.rows(f"SELECT toString(max(at)) FROM {name}")
    manifest = taking.take(view(database, "log"))
    assert "data" not in manifest.objects[0].facts
    live.execute(f"DROP TABLE {name} SYNC")
    notes = taking.restore(view(database, "log")).notes
    assert "from now on it refreshes itself and adds to these rows" in notes
    kept = f"SELECT count() FROM {name} WHERE toString(at) <= '{newest}'"
    assert live.rows(kept) == [(5,)]


def test_what_belongs_to_the_server_comes_back_under_its_own_name_only(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    live.execute(f"CREATE TABLE {database}.t (id UInt8) ENGINE Log")
    taking.take(table(database, "t"))
    users = table("system", "users")
    job = taking.restore_job(table(database, "t"), overwrite=True, last=-1, levels={})
    renamed, own = Wanted(users, replace(users, level3="copy")), Wanted(users, users)
    with pytest.raises(BackupError) as refused:
        prepare(job, taking.store, renamed)
    assert refused.value.code == "clickhouse.system"
    work = prepare(job, taking.store, own)
    assert (work.beside, work.before) == (sql.Relation("system", "users"), None)
