"""Tables of ClickHouse that come back together: one is checked while the next is restored."""

import json
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_failures import started, until
from three_backup.demo.clickhouse import ClickhouseServer

_NUMBERS = count(1)
_CLIENT = r"""#!/bin/sh
# Note when each RESTORE and CHECK TABLE begins and ends, and let those in `held` wait for `go`.
statement=$(cat)
of() {{ expr "$statement" : "$1"; }}
case "$statement" in
    "RESTORE TABLE"*)
        table=$(of 'RESTORE TABLE `[^`]*`\.`\([^`]*\)`')
        echo "$(of '.* AS `[^`]*`\.`\([^`]*\)`') $table" >> "{folder}/names"
        what="restore $table" ;;
    "CHECK TABLE"*)
        beside=$(of 'CHECK TABLE `[^`]*`\.`\([^`]*\)`')
        what="check $(sed -n "s/^$beside //p" "{folder}/names" | tail -n 1)" ;;
    *) printf %s "$statement" | "{client}" "$@"; exit $? ;;
esac
echo "begin $what" >> "{folder}/log"
if grep -qx "$what" "{folder}/held"; then
    while [ ! -e "{folder}/go" ]; do sleep 0.02; done
fi
printf %s "$statement" | "{client}" "$@"
status=$?
echo "end $what" >> "{folder}/log"
exit $status
"""


@dataclass(frozen=True, slots=True)
class Tables:
    """A host with three tables in ClickHouse, backed up, and a client that can be held."""

    host: Host
    server: ClickhouseServer
    database: str
    folder: Path

    @property
    def ids(self) -> list[str]:
        """The ids in the order in which the tables come back: the newest snapshot first."""
        return [self.id(number) for number in (3, 2, 1)]

    @property
    def all(self) -> str:
        return " ".join(self.ids)

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def id(self, number: int) -> str:
        return f"clickhouse/table/default/{self.database}/t{number}"

    def hold(self, *statements: str) -> None:
        """Let these statements wait for release(): `check t1` is the CHECK TABLE of t1."""
        (self.folder / "go").unlink(missing_ok=True)
        (self.folder / "log").write_text("")
        (self.folder / "held").write_text("\n".join(statements))

    def release(self) -> None:
        (self.folder / "go").touch()

    @contextmanager
    def restoring(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        with started(self.host, "tb-restore", *argv) as process:
            try:
                yield process
            finally:
                self.release()  # where the test failed, it would wait for ever

    def rows(self, suffix: str = "") -> list[tuple[object, ...]]:
        """Return for each table how many rows it has, and a hash of them."""
        return [
            self.server.rows(f"SELECT count(), sum(cityHash64(*)) FROM {self._name(n, suffix)}")[0]
            for n in (1, 2, 3)
        ]

    def grow(self) -> None:
        for number in (1, 2, 3):
            self.server.execute(f"INSERT INTO {self._name(number)} VALUES (0, 'since')")

    def is_whole(self, number: int) -> bool:
        """Have the server itself check a table."""
        ((passed,),) = self.server.rows(
            f"CHECK TABLE {self._name(number)} SETTINGS check_query_single_value_result = 1"
        )
        return bool(passed)

    def damage(self, number: int) -> None:
        """Flip a byte in the middle of a column of the table in S3."""
        s3 = store(self.host)
        (victim,) = (
            found.key
            for found in s3.all_keys(f"data/{self.id(number)}/")
            if found.key.endswith("/data.bin")
        )
        body = bytearray(s3.read(victim))
        body[len(body) // 2] ^= 1
        s3.write(victim, bytes(body))

    def left(self) -> list[tuple[object, ...]]:
        """Return the tables that a restore did not finish."""
        return self.server.rows(
            f"SELECT name FROM system.tables WHERE database = '{self.database}' "
            "AND startsWith(name, '.tb-restore-')"
        )

    def _name(self, number: int, suffix: str = "") -> str:
        return f"{self.database}.t{number}{suffix}"


@pytest.fixture
def tables(host: Host, clickhouse: ClickhouseServer) -> Iterator[Tables]:
    folder = host.folder / "client"
    folder.mkdir()
    script = folder / "clickhouse-client"
    client = clickhouse.bindir / "clickhouse-client"
    script.write_text(_CLIENT.format(client=client, folder=folder))
    script.chmod(0o755)
    path = f"{folder}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    made = Tables(host, clickhouse, f"many{next(_NUMBERS)}", folder)
    made.hold()
    clickhouse.execute(f"CREATE DATABASE {made.database}")
    for number in (1, 2, 3):
        clickhouse.execute(
            f"CREATE TABLE {made.database}.t{number} ENGINE MergeTree ORDER BY id AS "
            f"SELECT number AS id, hex(MD5(toString(id * {number}))) AS word FROM numbers(3000)"
        )
    host.good("tb-run -s clickhouse/table/default/" + made.database)
    yield made
    made.release()
    clickhouse.execute(f"DROP DATABASE IF EXISTS {made.database} SYNC")


def test_one_table_is_restored_while_the_one_before_it_is_checked(tables: Tables) -> None:
    before = tables.rows()
    tables.hold("check t3")
    with tables.restoring("--level3-suffix", "_2", *tables.ids) as process:
        until(lambda: "end restore t2" in tables.log)
        assert "end check t3" not in tables.log
        tables.release()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert tables.rows("_2") == before
    records = [json.loads(line) for line in stdout.splitlines()]
    assert [record["id"] for record in records] == tables.ids
    assert [record["restored"]["rows"] for record in records] == [3000] * 3
    assert [line for line in tables.log if "restore" in line] == [
        f"{when} restore {table}" for table in ("t3", "t2", "t1") for when in ("begin", "end")
    ]


def test_a_table_takes_its_place_after_its_check_and_no_record_leaps_over_another(
    tables: Tables,
) -> None:
    before = tables.rows()
    tables.grow()
    grown = tables.rows()
    tables.hold("check t3")
    with tables.restoring("--overwrite", *tables.ids) as process:
        until(lambda: tables.rows() == [before[0], before[1], grown[2]])
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 0)[0] == []
        tables.release()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert [json.loads(line)["id"] for line in stdout.splitlines()] == tables.ids
    assert tables.rows() == before
    assert tables.left() == []


def test_a_damaged_table_is_named_by_its_check_and_the_others_come_back(tables: Tables) -> None:
    before = tables.rows()
    tables.grow()
    grown = tables.rows()
    tables.damage(2)
    tables.hold("check t2")
    with tables.restoring("--overwrite", *tables.ids) as process:
        until(lambda: "end restore t1" in tables.log)
        tables.release()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    first, second, third = (json.loads(line) for line in stdout.splitlines())
    assert "restored" in first
    assert second["id"] == tables.id(2)
    assert second["error"]["code"] == "clickhouse.damaged"
    assert "restored" in third
    assert tables.rows() == [before[0], grown[1], before[2]]
    assert all(tables.is_whole(number) for number in (1, 2, 3))
    assert tables.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_restore_that_is_ended_in_both_at_once_touches_nothing_and_the_next_clears_up(
    tables: Tables, number: signal.Signals
) -> None:
    before = tables.rows()
    tables.grow()
    grown = tables.rows()
    tables.hold("check t3")
    reached, opened = threading.Event(), threading.Event()

    def hold_back(request: Request, forward: Forward) -> Answer:
        if request.is_("GET") and "/t2/" in request.path and request.path.endswith("/data.bin"):
            reached.set()
            opened.wait(60)
        return forward()

    with proxy(tables.host.s3.endpoint, hold_back) as endpoint:
        tables.host.configure(s3_endpoint=endpoint)
        with tables.restoring("--overwrite", *tables.ids) as process:
            until(lambda: "begin check t3" in tables.log and reached.is_set())
            began = time.monotonic()
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=60)
        assert time.monotonic() - began < 10
        assert process.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}.get(number, 143)
        assert "Traceback" not in stderr
        assert stdout == ""
        assert tables.rows() == grown
        assert tables.left()
        opened.set()
        tables.host.good(f"tb-restore --overwrite {tables.all}")
    assert tables.rows() == before
    assert tables.left() == []


def test_unchecked_leaves_the_check_out_and_says_so(tables: Tables) -> None:
    tables.damage(2)
    outcome = tables.host.good(f"tb-restore --unchecked --overwrite {tables.all}")
    assert [record["restored"]["unchecked"] for record in outcome.records] == [True] * 3
    for number, record in zip((3, 2, 1), outcome.records, strict=True):
        (note,) = record["restored"]["notes"]
        assert note.endswith(f"CHECK TABLE `{tables.database}`.`t{number}` tells")
        assert f"{record['id']}: {note}" in outcome.stderr
    assert "not checked  3 objects" in outcome.stderr
    assert not any("check" in line for line in tables.log)
    assert [tables.is_whole(number) for number in (1, 2, 3)] == [True, False, True]


def test_what_is_checked_does_not_say_that_it_was_not(tables: Tables) -> None:
    outcome = tables.host.good(f"tb-restore --overwrite {tables.all}")
    assert not any("unchecked" in record["restored"] for record in outcome.records)
    assert "not checked" not in outcome.stderr


def test_a_drill_checks_whatever_a_restore_leaves_out(tables: Tables) -> None:
    tables.damage(2)
    outcome = tables.host.sh(f"tb-verify {tables.all}")
    assert outcome.status == 1
    codes = [record.get("error", {}).get("code") for record in outcome.records]
    assert codes == [None, "clickhouse.damaged", None]


def test_views_wait_for_the_tables_that_come_back_with_them(tables: Tables) -> None:
    tables.server.execute(
        f"CREATE MATERIALIZED VIEW {tables.database}.moved TO {tables.database}.t3 AS "
        f"SELECT id, word FROM {tables.database}.t1"
    )
    view = f"clickhouse/view/default/{tables.database}/moved"
    tables.host.good(f"tb-run -s {view}")
    before = tables.rows()
    tables.server.execute(f"DROP DATABASE {tables.database} SYNC")
    tables.hold("check t1")
    with tables.restoring(view, *tables.ids) as process:
        until(lambda: "begin check t1" in tables.log and "end check t2" in tables.log)
        assert "begin restore moved" not in tables.log
        tables.release()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert [json.loads(line)["id"] for line in stdout.splitlines()] == [*tables.ids, view]
    assert tables.rows() == before
    tables.server.execute(f"INSERT INTO {tables.database}.t1 VALUES (7, 'seven')")
    assert tables.rows()[2][0] == before[2][0] + 1  # type: ignore[operator]


def test_a_table_whose_defaults_need_a_dictionary_comes_back_with_it_in_any_order(
    tables: Tables,
) -> None:
    name = tables.database
    tables.server.execute(
        f"CREATE DICTIONARY {name}.lookup (id UInt64, word String) PRIMARY KEY id "
        f"SOURCE(CLICKHOUSE(DB '{name}' TABLE 't1')) LIFETIME(0) LAYOUT(FLAT())"
    )
    tables.server.execute(
        f"CREATE TABLE {name}.named (id UInt64, word String DEFAULT "
        f"dictGet('{name}.lookup', 'word', id)) ENGINE MergeTree ORDER BY id"
    )
    ids = [f"clickhouse/table/default/{name}/{which}" for which in ("lookup", "named")]
    tables.host.good(f"tb-run -s {ids[0]} -s {ids[1]}")
    tables.server.execute(f"DROP DATABASE {name} SYNC")
    tables.host.good(f"tb-restore {ids[1]} {ids[0]} {tables.all}")
    tables.server.execute(f"INSERT INTO {name}.named (id) VALUES (7)")
    assert tables.server.rows(f"SELECT word FROM {name}.named") == tables.server.rows(
        f"SELECT word FROM {name}.t1 WHERE id = 7"
    )


def test_tables_of_postgresql_are_restored_as_ever_and_a_cluster_knows_no_unchecked(
    host: Host,
) -> None:
    host.execute("create table orders as select 1 as id")
    host.good("tb-run")
    name = host.table("orders")
    outcome = host.good(f"tb-restore --unchecked --level3-suffix _2 {name}")
    assert "unchecked" not in outcome.records[0]["restored"]
    refused = host.sh("tb-restore --unchecked --pgdata whole 'postgres/*'")
    assert refused.status == 2
    assert "--unchecked" in refused.stderr
