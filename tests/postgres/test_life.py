"""Events in a server's life, and how the next run goes on with its chain."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.forked import Forked
from tests.pipeline.test_failures import started, until
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.postgres.connection import connect

from .living import Living, living, standby_of, write_wal_past
from .taking import ask, run

WORK = "postgres/table/postgres/public/work"
_MORE = "insert into work select i, md5(i::text) from generate_series(1, 5000) i"
_CONTENT = "select count(*), md5(string_agg(t::text, '|' order by t::text)) from {} t"


@pytest.fixture(scope="module", params=[17, 18])
def own(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server of each version, which this module's tests may break."""
    with PostgresServer(server_folder / f"life{request.param}", request.param) as server:
        yield server
    shutil.rmtree(server.folder)


@pytest.fixture
def host(
    own: PostgresServer, server_folder: Path, seaweed: SeaweedServer, tools: Forked
) -> Iterator[Living]:
    """A host with this server, without a bucket."""
    run(own, "postgres", "create table work (id int, word text)", _MORE)
    with living(server_folder, own, seaweed, tools) as host:
        yield host
    if not own.pid:
        own.start()
    if (
        ask(own, "postgres", "select count(*) from pg_file_settings where sourcefile ~ 'auto'")
        != "0"
    ):
        run(own, "postgres", "alter system reset all")
        own.restart()
    run(own, "postgres", "drop table if exists work, large, back")


def configured(host: Living, restart: bool = False, **settings: str) -> None:
    for name, value in settings.items():
        host.execute(f"alter system set {name} = '{value}'")
    if restart:
        host.server.restart()
    else:
        host.execute("select pg_reload_conf()")


def content(host: Living, table: str = "work") -> tuple[object, ...]:
    return host.rows(_CONTENT.format(table))[0]


def comes_back(host: Living, snapshot: str | None = None) -> tuple[object, ...]:
    """Restore `work` beside the present table; return its content."""
    which = f"--snapshot {snapshot}" if snapshot else ""
    host.good(f"tb-restore {which} --level3 back {WORK}")
    found = content(host, "back")
    host.execute("drop table back")
    return found


def goes_on(host: Living) -> None:
    """Check that an incremental follows the newest snapshot and restores what is there now."""
    host.execute(_MORE)
    turn = host.turn(WORK)
    assert (turn.kind, turn.status) == ("incremental", 0), turn.stderr
    assert turn.planned["why"].startswith("no snapshot since ")
    assert comes_back(host) == content(host)


def test_a_standby_is_skipped_while_idle_and_its_promotion_takes_a_base(
    own: PostgresServer, host: Living, server_folder: Path
) -> None:
    with standby_of(own, server_folder) as standby:
        there = host.beside(standby)
        assert there.turn(WORK).kind == "base"
        idle = there.turn(WORK)
        assert (idle.kind, idle.status) == (None, 0)
        assert idle.planned["take"] == "incremental"
        assert idle.taken["why"].endswith("the standby has not got past its newest snapshot yet")
        assert "nothing has to be done" in idle.stderr
        host.execute(_MORE)
        host.execute("checkpoint")
        then = content(host)
        (lsn,) = host.rows("select pg_current_wal_lsn()")[0]
        behind = f"select pg_last_wal_replay_lsn() < '{lsn}'"
        until(lambda: there.rows(behind) == [(False,)])
        assert there.turn(WORK).kind == "incremental"
        there.execute("select pg_promote()")
        there.execute(_MORE)
        failed_over = there.turn(WORK)
        assert (failed_over.kind, failed_over.status) == ("base", 0)
        assert failed_over.planned["why"] == "the server switched from timeline 1 to 2"
        goes_on(there)
        assert comes_back(there, there.snapshots()[1]) == then


def test_summaries_that_are_gone_make_a_base(own: PostgresServer, host: Living) -> None:
    host.turn(WORK)
    host.execute(_MORE)
    (lsn,) = host.rows("select pg_current_wal_lsn()")[0]
    host.execute("checkpoint")
    reached = f"select max(end_lsn) >= '{lsn}' from pg_available_wal_summaries()"
    until(lambda: host.rows(reached) == [(True,)])
    for summary in (own.pgdata / "pg_wal" / "summaries").glob("*.summary"):
        summary.unlink()
    turn = host.turn(WORK)
    assert (turn.kind, turn.status) == ("base", 0)
    assert turn.planned["take"] == "incremental", "nobody can know before it is tried"
    assert turn.taken["why"].startswith("PostgreSQL: WAL summaries are required on timeline 1")
    assert turn.stderr.count("; a base is taken instead") == 1
    goes_on(host)


def test_summarize_wal_turned_off_and_on_takes_bases_and_names_the_remedy(host: Living) -> None:
    remedy = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf()"
    host.turn(WORK)
    configured(host, summarize_wal="off")
    until(lambda: host.rows("show summarize_wal") == [("off",)])
    off = host.turn(WORK)
    assert (off.kind, off.status) == ("base", 0)
    assert off.planned["why"] == (
        f"summarize_wal is off, without which there are only bases ({remedy})"
    )
    assert f"no incremental can follow: {remedy}" in off.stderr
    host.execute(_MORE)
    host.execute("select pg_switch_wal()")
    host.execute("checkpoint")  # WAL since the base can no longer be read
    configured(host, summarize_wal="on")
    until(lambda: host.rows("show summarize_wal") == [("on",)])
    on = host.turn(WORK)
    assert (on.kind, on.status) == ("base", 0)
    assert on.taken["why"].startswith("PostgreSQL: WAL summaries are required")
    goes_on(host)


def test_wal_level_turned_off_fails_with_the_remedy_and_on_takes_a_base(host: Living) -> None:
    host.turn(WORK)
    then, kept = content(host), host.snapshots()
    configured(host, restart=True, wal_level="minimal", max_wal_senders="0", summarize_wal="off")
    host.execute(_MORE)
    off = host.turn(WORK)
    assert (off.kind, off.status) == (None, 1)
    assert off.stderr == (
        f"tb-snapshot: {off.taken['carrier']}: PostgreSQL: wal_level is minimal, which allows no "
        "backup; run ALTER SYSTEM SET wal_level = replica and restart the server\n"
    )
    assert len(host.snapshots()) == len(kept)
    assert comes_back(host) == then
    host.execute("alter system reset all")
    host.server.restart()
    on = host.turn(WORK)
    assert (on.kind, on.status) == ("base", 0), on.stderr
    goes_on(host)


def test_a_server_that_was_set_back_takes_a_base_even_when_it_went_on(
    own: PostgresServer, host: Living, tmp_path: Path
) -> None:
    own.stop()
    subprocess.run(("cp", "-a", own.pgdata, tmp_path / "saved"), check=True)
    own.start()
    host.execute(_MORE)
    host.turn(WORK)
    (end,) = host.rows("select pg_current_wal_lsn()")[0]
    own.stop()
    shutil.rmtree(own.pgdata)
    subprocess.run(("cp", "-a", tmp_path / "saved", own.pgdata), check=True)
    own.start()
    host.age()
    planned = host.good("tb-discover | tb-plan").records[0]
    assert planned["take"] == "base"
    assert re.fullmatch(r"the server was set back to \w+/\w+, before the snapshot", planned["why"])
    write_wal_past(own, end)
    host.execute("checkpoint")
    host.execute(_MORE)
    turn = host.turn(WORK)
    assert (turn.kind, turn.status) == ("base", 0)
    assert turn.planned["take"] == "incremental", "by its position it went on"
    assert re.search(r"knows no checkpoint at \w+/\w+, where it began", turn.taken["why"])
    goes_on(host)


def test_another_cluster_is_another_carrier_and_the_old_one_still_restores(
    own: PostgresServer, host: Living, request: pytest.FixtureRequest
) -> None:
    old = host.turn(WORK)
    then = content(host)
    other = request.getfixturevalue(f"postgres{own.version}")
    there = host.beside(other)
    there.execute("create table work as select 1 as id")
    try:
        new = there.turn(WORK)
        assert (new.kind, new.status) == ("base", 0)
        assert new.planned["why"] == "there is no snapshot yet"
        assert new.taken["carrier"] != old.taken["carrier"]
        there.good("tb-discover | tb-rotate")
        there.execute("drop table work")
        first, _ = there.snapshots()
        assert comes_back(there, first) == then
    finally:
        there.execute("drop table if exists work, back")


def test_an_upgrade_of_the_major_version_is_another_carrier(
    server_folder: Path, seaweed: SeaweedServer, tools: Forked
) -> None:
    with (
        PostgresServer(server_folder / "older", 17) as older,
        PostgresServer(server_folder / "newer", 18) as newer,
        living(server_folder, older, seaweed, tools) as host,
    ):
        host.execute("create table work (id int, word text)")
        host.execute(_MORE)
        then, old = content(host), host.turn(WORK)
        older.stop()
        newer.stop()
        upgrade(older, newer)
        newer.start()
        there = host.beside(newer)
        new = there.turn(WORK)
        assert (new.kind, new.status) == ("base", 0)
        assert new.planned["why"] == "there is no snapshot yet"
        assert new.taken["carrier"] != old.taken["carrier"]
        goes_on(there)
        from_old = f"tb-restore --snapshot {there.snapshots()[0]} --level3 back {WORK}"
        refused = there.sh(from_old)
        assert refused.status == 1
        assert "the server programs of PostgreSQL 17 are not on this host" in refused.stderr
        assert "install the package postgresql-17" in refused.stderr
        there.configure(pg_bindir=older.bindir)
        there.good(from_old)
        assert content(there, "back") == then
        there.execute("drop table work, back")


def upgrade(older: PostgresServer, newer: PostgresServer) -> None:
    """Upgrade a cluster from 17 to 18 with pg_upgrade, rows included."""
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    argv = (
        newer.bindir / "pg_upgrade",
        f"--old-bindir={older.bindir}",
        f"--new-bindir={newer.bindir}",
        f"--old-datadir={older.pgdata}",
        f"--new-datadir={newer.pgdata}",
        "--username=postgres",
        f"--socketdir={newer.folder}",
    )
    unprivileged_account().run(argv, newer.folder, environ)


@pytest.fixture
def large(host: Living) -> Living:
    """A host whose backup is larger than a socket's buffer."""
    host.execute("create table large as select repeat('x', 900) from generate_series(1, 40000)")
    return host


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_a_server_that_stops_in_the_middle_costs_that_snapshot_only(
    own: PostgresServer, large: Living, how: str
) -> None:
    large.turn(WORK)
    status, stderr = stopped_halfway(large, own.kill if how == "kill" else lambda: own.stop(how))
    assert (status, len(stderr.splitlines())) == (69, 1)
    assert re.search(r"PostgreSQL does not answer: .*; check that the server runs", stderr)
    own.start()
    assert len(large.snapshots()) == 1
    goes_on(large)


@pytest.mark.parametrize(
    ("how", "code"), [("stopped", "postgres.unreachable"), ("terminated", "postgres.ended")]
)
def test_whoever_is_disconnected_learns_whether_the_server_lives(
    own: PostgresServer, monkeypatch: pytest.MonkeyPatch, how: str, code: str
) -> None:
    """The message is always the same: terminating connection due to administrator command."""
    for name, value in own.environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BackupError) as caught:
        disconnected(own, how)
    if not own.pid:
        own.start()
    assert caught.value.code == code


def disconnected(own: PostgresServer, how: str) -> None:
    with connect() as session:
        if how == "stopped":
            own.stop("fast")
        else:
            run(own, "postgres", f"select pg_terminate_backend({session.info.backend_pid})")
        session.execute("select 1")


def test_a_slot_that_lost_its_wal_is_explained_and_the_chain_goes_on(large: Living) -> None:
    large.turn(WORK)
    configured(large, max_slot_wal_keep_size="32MB", max_wal_size="32MB")

    def write_much() -> None:
        for _ in range(6):
            large.execute(_MORE)
            large.execute("select pg_switch_wal()")
        large.execute("checkpoint")

    status, stderr = stopped_halfway(large, write_much)
    assert (status, len(stderr.splitlines())) == (1, 1)
    assert "raise max_slot_wal_keep_size" in stderr
    goes_on(large)


def stopped_halfway(host: Living, happens: Callable[[], None]) -> tuple[int, str]:
    """Let something happen while a base streams; return tb-snapshot's status and stderr."""
    host.good("tb-discover > found")
    with started(host, "/bin/sh", "-c", "exec tb-snapshot --base < found > taken") as process:
        until(lambda: streamed(host) > 0)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            happens()
        finally:
            os.kill(process.pid, signal.SIGCONT)
        _, stderr = process.communicate(timeout=60)
    assert not list(host.local_dir.rglob(".unfinished-*"))
    return process.returncode, stderr


def streamed(host: Living) -> int:
    """Return how many bytes of a backup are sent; 0 before a backup began."""
    query = "select coalesce(max(backup_streamed), 0) from pg_stat_progress_basebackup"
    ((size,),) = host.rows(query)
    return int(size)
