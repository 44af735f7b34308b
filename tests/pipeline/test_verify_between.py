"""tb-verify drills moments between snapshots, drawn at random."""

import json
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.pipeline.conftest import Host, store
from tests.pipeline.test_moments import archived as archived
from tests.pipeline.test_moments import lose_everything
from three_backup.watching.health import Level

_UNSURE = timedelta(milliseconds=20)
"""Within this time after its own clock reading a statement has been committed."""


@pytest.fixture
def ticking(archived: Host) -> Host:
    """A host with a second snapshot, and a table that got a row every few milliseconds."""
    archived.execute("CREATE TABLE ticks (at timestamptz PRIMARY KEY)")
    time.sleep(1)  # snapshots are named by whole seconds: none is older by name than the table
    archived.good("tb-discover | tb-snapshot --incremental | tb-upload")
    tick(archived)
    archived.good("tb-discover | tb-snapshot --incremental | tb-upload")
    tick(archived)
    lose_everything(archived)
    return archived


def tick(host: Host) -> None:
    with host.connect() as connection:
        for _ in range(30):
            connection.execute("INSERT INTO ticks VALUES (clock_timestamp())")
            time.sleep(0.05)


def drills(host: Host) -> list[str]:
    return sorted(entry.key.rpartition("/")[2] for entry in store(host).all_keys("drills/"))


def drilled(host: Host, *options: str) -> dict[str, Any]:
    done = host.good(f"tb-verify --between {' '.join(options)} {host.table('ticks')}")
    (record,) = done.records
    found: dict[str, Any] = record["drilled"]
    return found


def test_a_drawn_moment_has_the_rows_that_were_committed_until_then(ticking: Host) -> None:
    moments = set()
    for _ in range(3):
        told = drilled(ticking)
        at = datetime.fromisoformat(told["at"])
        moments.add(at)
        counted = [
            ticking.rows(f"SELECT count(*) FROM ticks WHERE at <= '{until}'")[0][0]
            for until in (at - _UNSURE, at)
        ]
        assert counted[0] <= told["rows"] <= counted[1]
        committed = told["moment"]["committed"]  # none if the moment follows the snapshot at once
        assert committed is None or committed <= told["at"]
        assert told["moment"]["wal_bytes"] > 0
        assert told["indexes"] == 1
    assert len(moments) == 3


def test_moments_and_snapshots_are_remembered_apart(ticking: Host) -> None:
    ticks = ticking.table("ticks")
    drilled(ticking)
    assert drills(ticking) == ["moment-good.json"]
    assert (
        ticking.good("tb-list --stored --drills --json -s " + ticks).records[0]["drilled_at"]
        is None
    )
    ticking.good(f"tb-verify {ticks}")
    (key,) = (e.key for e in store(ticking).all_keys("drills/") if e.key.endswith("/good.json"))
    proved = json.loads(store(ticking).read(key))
    drilled(ticking)
    assert json.loads(store(ticking).read(key)) == proved
    assert drills(ticking) == ["good.json", "moment-good.json"]


def test_a_damaged_piece_of_wal_fails_the_drill_of_a_moment_only(ticking: Host) -> None:
    s3, ticks = store(ticking), ticking.table("ticks")
    whole = {e.key: s3.read(e.key) for e in s3.all_keys("wal/") if e.key.endswith(".zst")}
    for key, body in whole.items():
        s3.write(key, body[: len(body) // 2] + b"!" + body[len(body) // 2 + 1 :])
    failed = ticking.sh(f"tb-verify --between {ticks}")
    assert failed.status == 1
    assert "damaged" in failed.stderr
    assert "(drill of 20" in failed.stderr
    assert drills(ticking) == ["moment-failed.json"]
    ticking.good(f"tb-verify {ticks}")
    warned = ticking.sh("tb-status")
    assert warned.status == Level.WARNING
    assert "of a moment between snapshots failed, tb-verify --between says why" in warned.stdout
    for key, body in whole.items():
        s3.write(key, body)
    drilled(ticking)
    assert drills(ticking) == ["good.json", "moment-good.json"]
    assert "a moment between snapshots failed" not in ticking.sh("tb-status").stdout


def test_what_did_not_exist_at_the_moment_is_neither_proved_nor_failed(ticking: Host) -> None:
    ticking.execute("CREATE TABLE late AS SELECT 1 AS n")
    ticking.execute(f"CREATE DATABASE {ticking.database}_late")
    ticking.execute("CREATE TABLE too AS SELECT 1 AS n", f"{ticking.database}_late")
    ticking.good("tb-discover | tb-snapshot --incremental | tb-upload")
    late = ticking.table("late")
    too = late.replace(ticking.database, f"{ticking.database}_late").replace("/late", "/too")
    done = ticking.good(f"tb-verify --between {late} {too} {ticking.table('ticks')}")
    by_id = {record["id"]: record for record in done.records}
    assert "rows" in by_id[ticking.table("ticks")]["drilled"]
    for object_id in (late, too):
        assert "drilled" not in by_id[object_id]
        assert f"{object_id}: it did not exist at that moment" in done.stderr
    assert drills(ticking) == ["moment-good.json"]


def test_what_has_no_log_fails_with_a_sentence_and_is_not_remembered(host: Host) -> None:
    host.execute("CREATE TABLE users AS SELECT 1 AS n")
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    done = host.sh(f"tb-verify --between {host.table('users')}")
    assert done.status == 1
    assert "no log of its server is archived" in done.stderr
    assert drills(host) == []


def test_reading_alone_knows_no_moments(host_of_module: Host) -> None:
    done = host_of_module.sh("tb-verify --between --read-only postgres")
    assert done.status == 2
    assert "--between and --read-only exclude one another" in done.stderr
