"""Tables of ClickHouse are compared by the server, with what lies in S3."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pipeline.conftest import Host
from tests.pipeline.test_clickhouse import hits, mixed, words
from three_backup.demo.clickhouse import ClickhouseServer

__all__ = ["mixed"]
_DATABASES = "SELECT count() FROM system.databases WHERE name LIKE 'three_backup_drill_%'"
_ZOO = """
CREATE TABLE {}.zoo (id UInt64, day Date, small LowCardinality(String), map Map(String, UInt8),
                     perhaps Nullable(Int32), float Float64, list Array(Nullable(String)),
                     twice UInt64 MATERIALIZED id * 2, state AggregateFunction(sum, UInt64))
ENGINE = MergeTree ORDER BY (day, id)
"""
_FILL = """
INSERT INTO {}.zoo SELECT number, toDate('2026-01-01') + number % 50, toString(number % 7),
       map('k', number % 5), if(number % 2 = 0, NULL, number), if(number % 9 = 0, nan, number / 3),
       ['x', NULL], initializeAggregation('sumState', number)
  FROM numbers(20000)
"""


@pytest.fixture
def changed(mixed: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host whose tables have changed since they were stored."""
    visits = mixed.environ["VISITS"]
    clickhouse.execute(_ZOO.format(visits))
    clickhouse.execute(_FILL.format(visits))
    mixed.good("tb-run")
    mixed.wipe()
    yield mixed
    assert clickhouse.rows(_DATABASES) == [(0,)]


def _difference(host: Host, what: str, status: int) -> dict[str, Any]:
    outcome = host.sh(f"tb-diff {what}")
    assert (outcome.status, outcome.stderr) == (status, "")
    (record,) = outcome.records
    return dict(record["difference"])


def test_every_type_is_compared(changed: Host, clickhouse: ClickhouseServer) -> None:
    zoo = hits(changed).replace("/hits", "/zoo")
    visits = changed.environ["VISITS"]
    same = _difference(changed, zoo, 0)
    assert (same["equal"], same["added"], same["removed"]) == (True, 0, 0)
    clickhouse.execute(f"ALTER TABLE {visits}.zoo DELETE WHERE id = 7 SETTINGS mutations_sync = 1")
    clickhouse.execute(
        f"ALTER TABLE {visits}.zoo UPDATE perhaps = NULL WHERE id = 9 SETTINGS mutations_sync = 1"
    )
    clickhouse.execute(f"INSERT INTO {visits}.zoo SELECT * FROM {visits}.zoo WHERE id IN (1, 2)")
    found = _difference(changed, zoo, 1)
    assert (found["added"], found["removed"], found["definition"]) == (3, 2, "equal")
    assert "changed" not in found
    lines = changed.sh(f"tb-diff --rows {zoo}").stdout.splitlines()
    assert lines[0].startswith(f"--- {zoo} 2")
    assert lines[1] == f"+++ {zoo} live"
    assert [(line[0], line.split(",")[0][1:]) for line in lines[3:]] == [
        ("+", "1"),
        ("+", "2"),
        ("-", "7"),
        ("-", "9"),
        ("+", "9"),
    ]


def test_whole_tables_and_definitions_differ(changed: Host, clickhouse: ClickhouseServer) -> None:
    visits = changed.environ["VISITS"]
    clickhouse.execute(f"ALTER TABLE {visits}.zoo ADD COLUMN more String DEFAULT 'x'")
    clickhouse.execute(
        f"ALTER TABLE {visits}.zoo UPDATE float = 0 WHERE 1 SETTINGS mutations_sync = 1"
    )
    zoo = hits(changed).replace("/hits", "/zoo")
    found = _difference(changed, zoo, 1)
    assert (found["added"], found["removed"]) == (20000, 20000)
    assert "+    `more` String DEFAULT 'x'" in changed.sh(f"tb-diff --definition {zoo}").stdout


def test_views_gone_tables_and_sql_are_told(changed: Host, clickhouse: ClickhouseServer) -> None:
    assert "added" not in _difference(changed, words(changed), 0)
    refused = changed.sh(f"tb-diff --sql {hits(changed)}")
    assert (refused.status, refused.stdout) == (1, "")
    assert "no transactions" in refused.stderr
    clickhouse.execute(f"DROP TABLE {changed.environ['VISITS']}.zoo SYNC")
    gone = changed.sh(f"tb-diff {hits(changed).replace('/hits', '/zoo')}")
    assert gone.status == 1
    assert "it is not there any more; tb-restore brings it back" in gone.stderr


def test_two_snapshots_are_compared(changed: Host, clickhouse: ClickhouseServer) -> None:
    visits, table = changed.environ["VISITS"], hits(changed)
    clickhouse.execute(f"INSERT INTO {visits}.hits SELECT 5000 + number, 'new' FROM numbers(3)")
    changed.good(f"tb-discover -s {table} | tb-snapshot --incremental")
    clickhouse.execute(f"ALTER TABLE {visits}.hits DELETE WHERE 1 SETTINGS mutations_sync = 1")
    (listed,) = changed.good(f"tb-list --stored --snapshots --json -s {table}").records
    base, later = (snapshot["id"] for snapshot in listed["snapshots"])
    found = _difference(changed, f"--from {base} --to {later} {table}", 1)
    assert (found["added"], found["removed"]) == (3, 0)
    assert found["to"] == {"snapshot": later}
