"""An open snapshot is read by any client, and nothing is left of it however the tool ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from tests.lab.terminal import on_terminal
from tests.pipeline.conftest import SCHEMA, Host
from tests.pipeline.test_failures import started, until

_NO_SERVER = {"PGHOST": "127.0.0.1", "PGPORT": "1"}
"""What is open needs no live server."""

_ROWS = "select id, word from orders order by id"
_MADE = """
create table orders (id int primary key, word text);
insert into orders select i, repeat(i::text, 3) from generate_series(1, 1000) i;
create table others as select 1 as id;
create view totals as select count(*) as total from orders;
create schema "Sales = 2026";
create table "Sales = 2026".orders as select 7 as id;
"""
_SORTED_ELSEWHERE = """
update pg_database set datcollversion = '0' where datname = current_database()
"""
_FAILED = {
    "v": 1,
    "type": "postgres",
    "subtype": "table",
    "level1": "d",
    "level2": "s",
    "level3": "t",
    "id": "postgres/table/d/s/t",
    "error": {"tool": "tb-discover", "code": "postgres.gone", "message": "it is gone"},
}


@pytest.fixture(scope="module")
def stored(host_of_module: Host) -> Iterator[Host]:
    """A host whose database is stored, and has lost its rows since."""
    host = host_of_module
    (host.folder / "scratch").mkdir(mode=0o711)
    host.configure(scratch_dir=host.folder / "scratch")
    host.execute(_MADE)
    elsewhere = _elsewhere(host)
    host.execute(f"create database {elsewhere}", "postgres")
    host.execute("create table words as select 'a' as word", elsewhere)
    host.execute(_SORTED_ELSEWHERE, elsewhere)
    host.good("tb-run")
    host.execute("truncate orders")
    host.wipe()
    host.environ.update(_NO_SERVER)
    yield host
    host.environ.update(host.server.environ)
    assert _scratch(host) == []


Tool = subprocess.Popen[str]


@contextmanager
def opened(host: Host, *argv: str, lines: int = 1) -> Iterator[tuple[Tool, list[dict[str, Any]]]]:
    """Open the objects; yield the tool, and how each is reached. End it, unless the block did."""
    with started(host, "tb-open", *argv) as tool:
        assert tool.stdout is not None
        records = [json.loads(tool.stdout.readline()) for _ in range(lines)]
        for record in records:
            SCHEMA.validate(record)
        try:
            yield tool, [record["opened"] for record in records]
        finally:
            tool.terminate()


@contextmanager
def session(way: dict[str, Any]) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    given = {name: way[name] for name in ("host", "port", "user")}
    with psycopg.connect(**given, dbname=way["database"], autocommit=True) as found:
        yield found


def _elsewhere(host: Host) -> str:
    """Name a database that another version of a locale has sorted."""
    return f"{host.database}_elsewhere"


def _scratch(host: Host) -> list[Path]:
    return list((host.folder / "scratch").iterdir())


def _postmaster(way: dict[str, Any]) -> int:
    text = (Path(way["host"]) / "pgdata" / "postmaster.pid").read_text()
    return int(text.partition("\n")[0])


def guardian(tool: Tool) -> int:
    return int(Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text())


def _is_gone(way: dict[str, Any], postmaster: int) -> bool:
    return not Path(way["host"]).exists() and not Path(f"/proc/{postmaster}").exists()


def test_a_client_reads_what_the_snapshot_has(stored: Host) -> None:
    with opened(stored, stored.table("orders")) as (tool, (way,)):
        with session(way) as connection:
            expected = [(number, str(number) * 3) for number in range(1, 1001)]
            assert connection.execute(_ROWS).fetchall() == expected
            found = connection.execute("select word from orders where id = 7").fetchall()
            assert found == [("777",)]
            assert connection.execute("show enable_indexscan").fetchone() == ("on",)
            with pytest.raises(psycopg.Error, match="could not open file"):
                connection.execute("table others")
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("create table mine (id int)")
        tool.send_signal(signal.SIGINT)
        assert tool.wait() == 130
    assert _scratch(stored) == []


def test_the_command_is_ready_to_paste(stored: Host) -> None:
    with opened(stored, stored.table("orders")) as (_, (way,)):
        line = f"{way['command']} -XAtc 'select count(*) from orders'"
        assert stored.good(line).stdout == "1000\n"
        if os.geteuid() == 0:  # and by whoever the server runs as
            owner = Path(way["host"]).stat().st_uid
            whole = subprocess.run(
                ("/bin/sh", "-c", line), env=stored.environ, user=owner, capture_output=True
            )
            assert whole.stdout == b"1000\n", whole.stderr


def test_several_objects_are_open_at_once(stored: Host) -> None:
    view = f"postgres/view/{stored.database}/public/totals"
    names = (stored.table("orders"), stored.table("orders", "Sales = 2026"), view)
    with opened(stored, *names, lines=3) as (_, ways):
        assert len({way["host"] for way in ways}) == 1
        with session(ways[0]) as connection:
            found = [
                connection.execute(f"select count(*) from {way['relation']}".encode()).fetchone()
                for way in ways
            ]
        assert found == [(1000,), (1,), (1,)]


def test_an_index_in_another_order_than_that_of_this_host_hides_no_row(stored: Host) -> None:
    with (
        opened(stored, f"postgres/table/{_elsewhere(stored)}/public/words") as (_, (way,)),
        session(way) as connection,
    ):
        for setting in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"):
            assert connection.execute(f"show {setting}".encode()).fetchone() == ("off",)


def test_two_tools_have_it_open_at_once(stored: Host) -> None:
    with (
        opened(stored, stored.table("orders")) as (_, (first,)),
        opened(stored, stored.table("orders")) as (second, (other,)),
    ):
        second.terminate()
        assert second.wait() == 143
        assert not Path(other["host"]).exists()
        with session(first) as connection:
            assert connection.execute("select count(*) from orders").fetchone() == (1000,)


def test_it_closes_after_the_span(stored: Host) -> None:
    outcome = stored.real.good(f"tb-open --for 1s {stored.table('orders')} <&- 2>&-")
    assert outcome.records[0]["opened"]["database"] == stored.database
    assert _scratch(stored) == []


def test_it_closes_once_nobody_reads_any_more(stored: Host) -> None:
    asked = 'read -r way; eval "$(echo "$way" | sed \'s/.*command": *"\\([^"]*\\)".*/\\1/\')'
    line = f"tb-open {stored.table('orders')} | ({asked} -XAtc 'select count(*) from orders'\")"
    outcome = stored.real.sh(line)
    assert (outcome.stdout, outcome.stderr) == ("1000\n", "")
    until(lambda: _scratch(stored) == [], 10)


@pytest.mark.parametrize("prepared", [True, False])
def test_nothing_is_left_of_one_that_is_killed(stored: Host, prepared: bool) -> None:
    if not prepared:  # in the middle of its work
        with started(stored, "tb-open", stored.table("orders")) as tool:
            until(lambda: bool(_scratch(stored)))
            tool.kill()
        until(lambda: _scratch(stored) == [], 20)
        return
    with opened(stored, stored.table("orders")) as (tool, (way,)):
        postmaster = _postmaster(way)
        tool.kill()
        until(lambda: _is_gone(way, postmaster), 10)


def test_what_a_killed_guardian_left_is_removed_by_the_next_look(stored: Host) -> None:
    with opened(stored, stored.table("orders")) as (tool, (way,)):
        postmaster = _postmaster(way)
        os.kill(guardian(tool), signal.SIGKILL)
        assert tool.wait() == 1
        assert "its guardian was ended by SIGKILL" in cast(
            "str", tool.stderr and tool.stderr.read()
        )
    assert not _is_gone(way, postmaster)
    stored.good(f"tb-cat --limit 1 {stored.table('orders')}")
    until(lambda: _is_gone(way, postmaster), 10)


def test_a_server_that_ends_by_itself_is_told(stored: Host) -> None:
    with opened(stored, stored.table("orders")) as (tool, (way,)):
        os.kill(_postmaster(way), signal.SIGKILL)
        assert tool.wait() == 1
        assert tool.stderr is not None
        assert "the server in which it was open has ended" in tool.stderr.read()
    assert _scratch(stored) == []


def test_a_terminal_shows_a_line_to_paste(stored: Host) -> None:
    argv = ("tb-open", "--for", "1s", stored.table("orders"))
    status, shown = on_terminal(argv, stored.real.environ, stdout=True)
    assert status == 0
    commands = [line for line in shown.splitlines() if "psql -h" in line]
    assert len(commands) == 1
    assert f"-U three_backup_reader {stored.database}" in commands[0]
    assert "open until" in shown


def test_what_keeps_the_guardian_from_being_made_is_said(stored: Host) -> None:
    limited = (
        "import resource; from three_backup.tools.open import main; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); raise SystemExit(main())"
    )
    outcome = stored.sh(f"{sys.executable} -c '{limited}' {stored.table('orders')}")
    assert (outcome.status, outcome.stderr) == (1, "tb-open: too many open files\n")


def test_what_cannot_be_opened_is_said_and_nothing_is_waited_for(stored: Host) -> None:
    outcome = stored.sh(f"tb-open {stored.table('orders')} {stored.table('nobody')}")
    assert outcome.status == 1
    assert "nobody" in outcome.stderr
    for tool in ("tb-open", "tb-cat", "tb-diff"):
        outcome = stored.sh(f"{tool} < /dev/null")
        assert outcome.status == 1
        assert "no records came on standard input" in outcome.stderr
    failed = json.dumps(_FAILED)
    for tool in ("tb-open", "tb-cat", "tb-diff"):
        outcome = stored.sh(tool, f"{failed}\n")
        assert outcome.status == 1
        assert outcome.stdout in ("", f"{failed}\n")
    for span in ("soon", "0s", "9999999d"):
        refused = stored.sh(f"tb-open --for {span} {stored.table('orders')}")
        assert (refused.status, refused.stdout) == (2, "")
        assert "write 30m or 2h" in refused.stderr


def test_a_moment_is_open_and_a_backup_is_not_held_up(host: Host) -> None:
    host.configure(wal="pull")
    host.execute("create table t as select i from generate_series(1, 3) i")
    host.good("tb-run")
    host.execute("insert into t values (4)")
    host.execute("drop table t")
    host.good("tb-wal pull")
    with opened(host, "--before-drop", host.table("t")) as (_, (way,)):
        with session(way) as connection:
            assert connection.execute("table t").fetchall() == [(1,), (2,), (3,), (4,)]
        assert way["moment"]["committed"] is not None
        host.good("tb-discover | tb-snapshot --incremental | tb-upload | tb-rotate")
