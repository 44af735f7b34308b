"""Any second: the tools bring back moments between snapshots, out of S3 alone."""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from three_backup.model.local_time import spoken

from .conftest import Host


def now(host: Host) -> str:
    """Return the server's time, with nothing committed just before and after it."""
    time.sleep(0.02)
    ((found,),) = host.rows("SELECT clock_timestamp()")
    assert isinstance(found, datetime)
    time.sleep(0.02)
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture
def archived(host: Host) -> Iterator[Host]:
    """A host that pulls WAL, with a snapshot of two tables; the slot is dropped afterwards."""
    host.configure(wal="pull")
    host.good("tb-wal pull")
    host.execute("CREATE TABLE users AS SELECT n, 'user' AS name FROM generate_series(1, 99) n")
    host.execute("CREATE TABLE orders AS SELECT n FROM generate_series(1, 99) n")
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    yield host
    slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
    host.rows(f"{slots} WHERE NOT active AND slot_name LIKE 'three_backup%'")


def lose_everything(host: Host) -> None:
    """Pull what is left of the WAL, and wipe all that lies on this host."""
    host.good("tb-wal pull")
    shutil.rmtree(host.local_dir)


def test_a_table_as_it_was_at_a_time_stands_beside_the_live_one(archived: Host) -> None:
    archived.execute("UPDATE users SET name = 'changed' WHERE n < 50")
    moment = now(archived)
    archived.execute("DELETE FROM users")
    lose_everything(archived)
    users = archived.table("users")
    done = archived.good(
        f"TZ=Europe/Moscow tb-restore --at {moment} --level3-suffix _then {users}"
    )
    (record,) = done.records
    assert record["restored"]["moment"]["committed"] <= moment
    changed = "count(*) FILTER (WHERE name = 'changed')"
    assert archived.rows(f"SELECT count(*), {changed} FROM users_then") == [(99, 49)]
    assert archived.rows("SELECT count(*) FROM users") == [(0,)]
    committed = datetime.fromisoformat(record["restored"]["moment"]["committed"])
    told = spoken(committed.astimezone(ZoneInfo("Europe/Moscow")))
    assert told.endswith(" MSK")
    assert f"last transaction  {told}" in done.stderr


def test_a_dry_run_tells_the_moment_and_touches_nothing(archived: Host) -> None:
    archived.execute("UPDATE users SET name = 'changed'")
    moment = now(archived)
    lose_everything(archived)
    users = archived.table("users")
    done = archived.good(f"tb-restore --dry-run --at {moment} --level3-suffix _then {users}")
    (record,) = done.records
    told = record["would_restore"]
    assert told["moment"]["committed"] <= moment
    assert told["moment"]["wal_bytes"] > 0
    assert archived.rows("SELECT to_regclass('users_then')") == [(None,)]


def test_a_dropped_table_and_view_come_back_to_the_instant_before(archived: Host) -> None:
    archived.execute("CREATE VIEW names AS SELECT name FROM users")
    archived.execute("CREATE TABLE since AS SELECT 7 AS n")
    archived.execute("UPDATE users SET name = 'last' WHERE n = 1")
    archived.execute("DROP VIEW names")
    archived.execute("DROP TABLE users")
    archived.execute("DROP TABLE since")
    lose_everything(archived)
    wanted = [archived.table("users"), archived.table("since")]
    view = archived.table("names").replace("/table/", "/view/")
    archived.good(f"tb-restore --before-drop {' '.join(wanted)} {view}")
    assert archived.rows("SELECT count(*) FROM users WHERE name = 'last'") == [(1,)]
    assert archived.rows("SELECT count(*) FROM names") == [(99,)]
    assert archived.rows("SELECT n FROM since") == [(7,)]


def test_a_pattern_selects_what_had_the_names_at_that_moment(archived: Host) -> None:
    archived.execute("CREATE TABLE since AS SELECT 7 AS n")
    archived.execute("ALTER TABLE orders RENAME TO renamed")
    archived.execute("DROP TABLE users")
    moment = now(archived)
    archived.execute("DROP TABLE since")
    lose_everything(archived)
    pattern = f"'postgres/*/{archived.database}/*'"
    done = archived.good(f"tb-restore --at {moment} --level2 past {pattern}")
    restored = sorted(record["restored"]["target"] for record in done.records)
    assert restored == [archived.table("renamed", "past"), archived.table("since", "past")]
    assert archived.rows("SELECT n FROM past.since") == [(7,)]


@pytest.mark.parametrize("option", ["--lsn", "--xid"])
def test_a_position_and_a_transaction_are_moments_too(archived: Host, option: str) -> None:
    with archived.connect() as connection:
        connection.autocommit = False
        connection.execute("UPDATE users SET name = 'this one'")
        ((xid,),) = connection.execute("SELECT pg_current_xact_id()::text")
        connection.commit()
        ((lsn,),) = connection.execute("SELECT pg_current_wal_insert_lsn()::text")
        connection.rollback()
    archived.execute("DELETE FROM users")
    lose_everything(archived)
    value = {"--lsn": lsn, "--xid": xid}[option]
    archived.good(f"tb-restore {option} {value} --level3-suffix _then {archived.table('users')}")
    assert archived.rows("SELECT DISTINCT name FROM users_then") == [("this one",)]


def test_where_no_wal_leads_the_snapshot_before_comes_back_and_a_note_says_so(
    archived: Host,
) -> None:
    archived.execute("DELETE FROM users")
    later = "2036-01-01T00:00:00Z"
    lose_everything(archived)
    users = archived.table("users")
    refused = archived.sh(f"tb-restore --at {later} --exact --level3-suffix _x {users}")
    assert refused.status == 1
    assert "the archived WAL ends before that moment" in refused.stderr
    done = archived.good(f"tb-restore --at {later} --level3-suffix _then {users}")
    assert "the archived WAL ends before that moment" in done.stderr
    assert archived.rows("SELECT count(*) FROM users_then") == [(0,)]


def test_without_wal_a_time_means_the_newest_snapshot_before_it(host: Host) -> None:
    host.execute("CREATE TABLE users AS SELECT 1 AS n")
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    users, later = host.table("users"), "2036-01-01"
    done = host.good(f"tb-restore --at {later} --level3-suffix _then {users}")
    assert "before the wanted moment" in done.stderr
    refused = host.sh(f"tb-restore --at {later} --exact --level3-suffix _more {users}")
    assert refused.status == 1
    assert "no log leads to that moment" in refused.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--at 2026-11-29 --lsn 0/1", "--at and --lsn exclude one another"),
        ("--snapshot 20261129T000000Z-base --before-drop", "--snapshot and --before-drop exclude"),
        ("--lsn nowhere", "'nowhere' is not a position"),
        ("--xid -5", "'-5' is no number of a transaction"),
    ],
)
def test_a_slip_is_a_sentence(host_of_module: Host, options: str, sentence: str) -> None:
    done = host_of_module.sh(f"tb-restore {options} postgres/table/a/b/c")
    assert done.status == 2
    assert sentence in done.stderr


def test_what_keeps_no_log_is_refused_for_a_position(host: Host) -> None:
    host.execute("CREATE TABLE users AS SELECT 1 AS n")
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    done = host.sh(f"tb-restore --before-drop {host.table('users')}")
    assert done.status in (1, 2)
    assert "no log of its server is archived" in done.stderr
