"""Rows of ClickHouse come out of S3 through the server, which keeps nothing of it."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.pipeline.conftest import Host
from tests.pipeline.test_clickhouse import hits, mixed, words
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.host.machine import host_id

__all__ = ["mixed"]
_RESTORED = "SELECT count() FROM system.backups WHERE status = 'RESTORED'"
_DATABASES = "SELECT count() FROM system.databases WHERE name LIKE 'three_backup_drill_%'"


@pytest.fixture
def chained(mixed: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host whose table is stored as a base and two incrementals, and has changed since."""
    visits = mixed.environ["VISITS"]
    mixed.good("tb-run")
    for number in (1, 2):
        clickhouse.execute(
            f"INSERT INTO {visits}.hits SELECT {number}000 + number, 'it''s' FROM numbers(5)"
        )
        mixed.good(f"tb-discover -s {hits(mixed)} | tb-snapshot --incremental")
    clickhouse.execute(f"ALTER TABLE {visits}.hits DELETE WHERE 1 SETTINGS mutations_sync = 1")
    mixed.wipe()
    yield mixed
    assert clickhouse.rows(_DATABASES) == [(0,)]


def test_a_chain_is_read_without_touching_the_live_table(
    chained: Host, clickhouse: ClickhouseServer
) -> None:
    restored = clickhouse.rows(_RESTORED)
    lines = chained.good(f"tb-cat {hits(chained)}").stdout.splitlines()
    assert clickhouse.rows(_RESTORED) == restored  # it was attached where it lies
    assert lines[0] == '"id","word"'
    expected = {f'{number},"{number}"' for number in range(1000)}
    expected |= {f'{start + number},"it\'s"' for start in (1000, 2000) for number in range(5)}
    assert set(lines[1:]) == expected
    assert clickhouse.rows(f"SELECT count() FROM {chained.environ['VISITS']}.hits") == [(0,)]


def test_columns_conditions_formats_and_older_snapshots(chained: Host) -> None:
    table = hits(chained)
    chosen = chained.sh(f"tb-cat --format json --columns word,id --where 'id >= 2003' {table}")
    assert sorted(map(json.loads, chosen.stdout.splitlines()), key=lambda row: row["id"]) == [
        {"word": "it's", "id": number} for number in (2003, 2004)
    ]
    tsv = chained.good(f"tb-cat --format TSV --limit 1 --where 'id = 7' {table}").stdout
    assert tsv == "7\t7\n"
    insert = chained.good(f"tb-cat --format sql --where 'id = 7' {table}").stdout
    assert insert.startswith("INSERT INTO hits (`id`, `word`) VALUES (7, '7')")
    (listed,) = chained.good(f"tb-list --stored --snapshots --json -s {table}").records
    base = listed["snapshots"][0]["id"]
    assert len(chained.good(f"tb-cat --snapshot {base} {table}").stdout.splitlines()) == 1001


def test_the_definition_is_read_in_s3(chained: Host) -> None:
    assert "CREATE TABLE" in chained.good(f"tb-cat --definition {hits(chained)}").stdout
    assert "AS SELECT word" in chained.good(f"tb-cat --definition {words(chained)}").stdout
    refused = chained.sh(f"tb-cat {words(chained)}")
    assert refused.status == 1
    assert "--definition shows what makes it" in refused.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [("--where 'nobody = 1'", "nobody"), ("--format 'a b'", "is not a format")],
)
def test_what_the_server_refuses_is_said(chained: Host, options: str, said: str) -> None:
    refused = chained.sh(f"tb-cat {options} {hits(chained)}")
    assert refused.status in (1, 2)
    assert said in refused.stderr
    assert chained.s3.secret_key not in refused.stderr


OLDER = """#!/bin/sh
statement=$(cat)
case $statement in
*"ENGINE = Backup"*)
    echo "Code: 336. DB::Exception: Unknown database engine: Backup. (UNKNOWN_DATABASE_ENGINE)" >&2
    exit 80 ;;
esac
printf '%s' "$statement" | exec {} "$@"
"""


def test_a_server_that_cannot_attach_restores_it_for_the_moment(
    chained: Host, clickhouse: ClickhouseServer
) -> None:
    older = chained.folder / "older"
    older.mkdir()
    (older / "clickhouse-client").write_text(OLDER.format(clickhouse.bindir / "clickhouse-client"))
    (older / "clickhouse-client").chmod(0o755)
    environ = {"PATH": f"{older}:{chained.environ['PATH']}"}
    ((restored,),) = clickhouse.rows(_RESTORED)
    outcome = chained.sh(f"tb-cat {hits(chained)}", environ=environ)
    assert (outcome.status, len(outcome.stdout.splitlines())) == (0, 1011)
    assert clickhouse.rows(_RESTORED) == [(restored + 1,)]


def test_what_a_killed_look_left_is_dropped_by_the_next_one(
    chained: Host, clickhouse: ClickhouseServer
) -> None:
    digest = hashlib.sha256(host_id().encode()).hexdigest()[:12]
    clickhouse.execute(f"CREATE DATABASE three_backup_drill_look_{digest}_999999999")
    chained.good(f"tb-cat --limit 1 {hits(chained)}")
