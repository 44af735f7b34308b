"""ClickHouse and PostgreSQL with the same tools, run as an administrator does."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_failures import arguments_seen, members, started, until
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.sources.clickhouse.attempt import Attempt

_NUMBERS = count(1)
ONLY = "-s clickhouse"


@pytest.fixture
def mixed(host: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host with a table in PostgreSQL, and a table and a view in ClickHouse."""
    database = f"visits{next(_NUMBERS)}"
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(
        f"CREATE TABLE {database}.hits ENGINE MergeTree ORDER BY id AS "
        "SELECT number AS id, toString(number) AS word FROM numbers(1000)"
    )
    clickhouse.execute(f"CREATE VIEW {database}.words AS SELECT word FROM {database}.hits")
    host.execute("create table orders as select i as id from generate_series(1, 100) i")
    environ = clickhouse.environ
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**environ, "PATH": path, "VISITS": database})
    yield host
    clickhouse.execute(f"DROP DATABASE IF EXISTS {database} SYNC")


def hits(host: Host) -> str:
    return f"clickhouse/table/default/{host.environ['VISITS']}/hits"


def words(host: Host) -> str:
    return f"clickhouse/view/default/{host.environ['VISITS']}/words"


def data_keys(host: Host) -> list[str]:
    return [found.key for found in store(host).all_keys("data/clickhouse/")]


def test_one_run_backs_up_both_and_both_come_back_from_s3_alone(
    mixed: Host, clickhouse: ClickhouseServer
) -> None:
    visits = mixed.environ["VISITS"]
    done = {record["id"]: record for record in mixed.good("tb-run --json").records}
    for object_id in (hits(mixed), words(mixed), mixed.table("orders")):
        assert done[object_id]["stage"] == "rotated_s3"
        assert done[object_id]["todo"] == []
        assert done[object_id]["snapshot"]["kind"] == "base"
    assert "uploaded" not in done[hits(mixed)]
    again = {record["id"]: record for record in mixed.good("tb-run --json").records}
    assert not any("snapshot" in record for record in again.values())
    assert again[hits(mixed)]["stage"] == "rotated_s3"
    mixed.wipe()
    mixed.execute("drop table orders")
    clickhouse.execute(f"DROP DATABASE {visits} SYNC")
    mixed.good(f"tb-restore {mixed.table('orders')} {hits(mixed)} {words(mixed)}")
    assert mixed.rows("select count(*) from orders") == [(100,)]
    assert clickhouse.rows(f"SELECT count() FROM {visits}.words") == [(1000,)]


def test_what_must_be_encrypted_is_not_left_to_the_server(mixed: Host) -> None:
    key = "5a" * 32
    mixed.configure(encryption_key=key, encryption="required")
    outcome = mixed.sh("tb-run --json")
    done = {record["id"]: record for record in outcome.records}
    assert outcome.status == 1
    assert done[mixed.table("orders")]["stage"] == "rotated_s3"
    assert done[hits(mixed)]["error"]["code"] == "encryption.direct"
    assert mixed.sh(f"tb-discover {ONLY} | tb-snapshot --base").status == 1
    checked = mixed.sh(f"tb-check {ONLY}")
    assert (checked.status, data_keys(mixed)) == (1, [])
    assert "nothing here can encrypt it" in " ".join(checked.stdout.split())
    disabled = "- clickhouse:\n    disable: true"
    mixed.configure(disabled, encryption_key=key, encryption="required")
    assert mixed.sh("tb-run").status == 0
    mixed.configure(encryption_key=key)
    told = " ".join(mixed.good(f"tb-check {ONLY}").stdout.split())
    assert "its data stay unencrypted" in told
    mixed.good("tb-run")
    mixed.wipe()
    assert len(mixed.good(f"tb-cat {hits(mixed)}").stdout.splitlines()) == 1001


def test_the_server_keeps_to_the_limit(mixed: Host, clickhouse: ClickhouseServer) -> None:
    visits = mixed.environ["VISITS"]
    clickhouse.execute(
        f"INSERT INTO {visits}.hits SELECT number, randomString(1000) FROM numbers(4000)"
    )
    mixed.configure(bandwidth_limit="1 MB/s")
    select = f"-s {hits(mixed)}"
    (taken,) = mixed.good(f"tb-discover {select} | tb-snapshot").records
    assert taken["snapshot"]["seconds"] > 2
    (restored,) = mixed.good(f"tb-restore --level3-suffix _slow {hits(mixed)}").records
    assert restored["restored"]["seconds"] > 2


def test_while_s3_is_away_only_what_lies_there_fails(mixed: Host) -> None:
    mixed.configure(s3_endpoint="http://127.0.0.1:9", s3_timeout="1s")
    outcome = mixed.sh(f"tb-discover -s {hits(mixed)} -s {mixed.table('orders')} | tb-plan")
    planned = {record["type"]: record for record in outcome.records}
    assert outcome.status == 1
    assert planned["clickhouse"]["error"]["code"] == "s3.unreachable"
    assert planned["postgres"]["take"] == "base"


def test_what_must_not_reach_s3_is_not_taken_and_why_says_so(mixed: Host) -> None:
    mixed.configure(max_stage="snapshot_incremental")
    planned = mixed.good(f"tb-discover -s {hits(mixed)} | tb-plan").records[0]
    assert (planned["stage"], planned["take"], planned["todo"]) == ("exists", None, [])
    assert "these snapshots lie in S3" in planned["why"]
    mixed.good(f"tb-discover -s {hits(mixed)} | tb-snapshot | tb-upload | tb-rotate")
    assert data_keys(mixed) == []


def test_a_plan_names_the_stages_of_a_server_that_writes_to_s3(mixed: Host) -> None:
    planned = mixed.good(f"tb-discover -s {hits(mixed)} | tb-plan").records[0]
    assert planned["take"] == "base"
    assert planned["todo"] == ["snapshot_base", "synced_s3", "rotated_s3"]
    mixed.good(f"tb-run -s {hits(mixed)}")
    mixed.configure(incremental_schedule='"* * * * *"', base_schedule="0 0 1 1 *")
    taken = mixed.good(f"tb-discover -s {hits(mixed)} | tb-snapshot --incremental").records[0]
    assert (taken["stage"], taken["snapshot"]["kind"]) == ("synced_s3", "incremental")


def test_rotation_keeps_what_is_needed_and_leaves_no_key_of_the_rest(mixed: Host) -> None:
    mixed.configure(max_base_snapshots_s3=1, max_incremental_snapshots_s3=1)
    chain = f"tb-discover -s {hits(mixed)} | tb-snapshot {{}} | tb-upload | tb-rotate"
    mixed.good(chain.format("--base"))
    mixed.good(chain.format("--incremental"))
    mixed.good(chain.format("--incremental"))
    old = data_keys(mixed)
    assert mixed.good(chain.format("--base")).records[0]["removed"]["s3"] == []
    last = mixed.good(chain.format("--incremental")).records[0]
    assert len(last["removed"]["s3"]) == 3
    assert set(old).isdisjoint(data_keys(mixed))
    assert len({key.split("/")[6] for key in data_keys(mixed)}) == 2
    mixed.good(f"tb-restore --level3-suffix _2 {hits(mixed)}")


def test_what_was_begun_for_a_table_that_was_dropped_is_cleared_after_a_day(
    mixed: Host, clickhouse: ClickhouseServer
) -> None:
    mixed.good(f"tb-run -s {words(mixed)}")
    dropped = Carrier(f"clickhouse/table/default/{mixed.environ['VISITS']}/dropped")
    attempt = Attempt(
        dropped, SnapshotId(datetime(2026, 11, 1, tzinfo=UTC)), "x", (), 0, {}, "ClickHouse"
    )
    journals = mixed.local_dir / "journal" / dropped
    attempt.note(journals)
    store(mixed).write(f"{attempt.key}/.lock", b"x")
    mixed.good(f"tb-discover -s {words(mixed)} | tb-rotate")
    assert store(mixed).size(f"{attempt.key}/.lock") == 1
    (note,) = journals.rglob("attempt.json")
    os.utime(note, (0, 0))
    mixed.good(f"tb-discover -s {words(mixed)} | tb-rotate")
    assert store(mixed).size(f"{attempt.key}/.lock") is None
    assert not note.exists()


def test_what_was_begun_for_a_table_that_goes_to_another_prefix_is_left_to_its_own_run(
    mixed: Host,
) -> None:
    other = Carrier(f"clickhouse/table/default/{mixed.environ['VISITS']}/other")
    attempt = Attempt(
        other, SnapshotId(datetime(2026, 11, 1, tzinfo=UTC)), "x", (), 0, {}, "ClickHouse"
    )
    attempt.note(mixed.local_dir / "journal" / other)
    (note,) = (mixed.local_dir / "journal" / other).rglob("attempt.json")
    os.utime(note, (0, 0))
    mixed.configure(f"- {other}: {{s3_prefix: away}}\n", s3_prefix=None)
    mixed.good(f"tb-run -s {words(mixed)}")
    assert note.exists()
    mixed.configure(s3_prefix=None)
    mixed.good(f"tb-discover -s {words(mixed)} | tb-rotate")
    assert not note.exists()


def test_data_that_nobody_here_began_is_reported_and_stays(mixed: Host) -> None:
    mixed.good(f"tb-run -s {hits(mixed)}")
    foreign = f"data/{hits(mixed)}/20200101T000000Z-base/x/data/a%2Eb/.lock"
    store(mixed).write(foreign, b"x")
    outcome = mixed.good(f"tb-discover -s {hits(mixed)} | tb-rotate")
    assert foreign in outcome.stderr
    assert store(mixed).size(foreign) == 1


def test_what_is_definition_only_is_announced(mixed: Host, clickhouse: ClickhouseServer) -> None:
    visits = mixed.environ["VISITS"]
    clickhouse.execute(f"CREATE TABLE {visits}.joined (id UInt8) ENGINE Join(ANY, LEFT, id)")
    select = f"-s clickhouse/table/default/{visits}/joined"
    assert mixed.good(f"tb-discover {select}").records[0]["data"] == "definition only"
    assert "table, definition only" in mixed.good(f"tb-list {select} < /dev/null").stdout


def test_another_host_on_the_prefix_is_refused_unless_it_adopts(mixed: Host) -> None:
    store(mixed).write("owner.json", b'{"v":1,"host":"somebody-else"}')
    command = f"tb-discover -s {hits(mixed)} | tb-snapshot"
    refused = mixed.sh(command)
    assert refused.status == 78
    assert "--adopt" in refused.stderr
    assert data_keys(mixed) == []
    mixed.good(f"{command} --adopt")


def test_a_run_that_was_killed_amid_a_backup_is_finished_by_the_next(
    mixed: Host, clickhouse: ClickhouseServer
) -> None:
    reached, opened = threading.Event(), threading.Event()

    def hold_back(request: Request, forward: Forward) -> Answer:
        if request.is_("PUT") and request.path.endswith("/.backup"):
            reached.set()
            opened.wait(60)
        return forward()

    with proxy(mixed.s3.endpoint, hold_back) as endpoint:
        mixed.configure(s3_endpoint=endpoint)
        with started(mixed, "tb-run", "-s", hits(mixed)) as process:
            assert reached.wait(60)
            os.killpg(process.pid, signal.SIGKILL)
        until(lambda: members(process.pid) == [])
        opened.set()
        outcome = mixed.good(f"tb-run -s {hits(mixed)}")
    assert "begun by an earlier run, is finished" in outcome.stderr
    assert clickhouse.rows(
        "SELECT count() FROM system.backups WHERE status = 'BACKUP_CREATED' "
        f"AND position(name, '/{mixed.environ['VISITS']}/hits/') > 0"
    ) == [(1,)]
    mixed.configure()
    mixed.good(f"tb-restore --level3-suffix _2 {hits(mixed)}")


def test_no_secret_shows_anywhere(mixed: Host) -> None:
    password = mixed.environ.pop("CLICKHOUSE_PASSWORD")
    (mixed.folder / ".env").write_text(f"CLICKHOUSE_PASSWORD={password}\n")
    secrets = [password.encode(), mixed.s3.secret_key.encode()]
    with arguments_seen() as seen:
        outcomes = [
            mixed.good(f"tb-run --json {ONLY}/*/*/{mixed.environ['VISITS']}/hits"),
            mixed.sh(f"tb-restore {hits(mixed)}"),
            mixed.good(f"tb-restore --level3-suffix _2 {hits(mixed)}"),
        ]
    assert any(b"clickhouse-client" in line or b"clickhouse_client" in line for line in seen)
    texts = [text.encode() for outcome in outcomes for text in (outcome.stdout, outcome.stderr)]
    texts += [path.read_bytes() for path in mixed.local_dir.rglob("*") if path.is_file()]
    texts += [store(mixed).read(entry.key) for entry in store(mixed).all_keys("")]
    for secret in secrets:
        assert not any(secret in text for text in (*texts, *seen))


_STALLS = """#!/bin/sh
statement=$(cat)
case "$statement" in
    BACKUP*words*) trap '' TERM INT HUP; while :; do sleep 0.1; done ;;
    *) printf %s "$statement" | exec "{client}" "$@" ;;
esac
"""


@pytest.fixture
def stalling(mixed: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host whose client hangs at the backup of one view, and takes no signal."""
    folder = mixed.folder / "stalls"
    folder.mkdir()
    script = folder / "clickhouse-client"
    script.write_text(_STALLS.format(client=clickhouse.bindir / "clickhouse-client"))
    script.chmod(0o755)
    path = mixed.environ["PATH"]
    mixed.environ["PATH"] = f"{folder}:{path}"
    yield mixed
    mixed.environ["PATH"] = path


def test_one_object_that_hangs_fails_and_the_next_one_has_its_turn(stalling: Host) -> None:
    stalling.configure(server_timeout="2s")
    names = f"-s '{words(stalling)}' -s '{hits(stalling)}'"
    stalling.good(f"tb-discover {names} | sort -r > found")
    run = stalling.sh("tb-snapshot --base < found")
    first, second = run.records
    assert first["id"] == words(stalling)
    assert first["error"]["code"] == "server.silent"
    assert "clickhouse-client showed no sign of life for 0:00:02 and was given up" in run.stderr
    assert second["snapshot"]["kind"] == "base"
    assert run.status == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_tool_whose_server_hangs(stalling: Host, number: signal.Signals) -> None:
    stalling.good(f"tb-discover -s '{words(stalling)}' > found")
    with started(stalling.real, "/bin/sh", "-c", "exec tb-snapshot --base < found") as process:
        until(lambda: bool(list(stalling.local_dir.rglob("attempt.json"))))
        began = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in stderr
    stalling.environ["PATH"] = stalling.environ["PATH"].partition(":")[2]
    stalling.good("tb-snapshot --base < found")
    assert not list(stalling.local_dir.rglob("attempt.json"))
