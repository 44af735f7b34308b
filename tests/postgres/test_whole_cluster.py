"""A whole cluster comes back as a data directory that PostgreSQL verifies and starts."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.lab.forked import Forked
from tests.pipeline.conftest import Host, Outcome
from tests.pipeline.test_failures import started, until
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.postgres.cluster.building_site import UNFINISHED, check_room
from three_backup.sources.postgres.cluster.left_out import SCRIPT

from .living import Living, living, write_wal_past
from .taking import ask, run

_NUMBERS = count(1)
_SPACES = ("fast", "slow")
_KEPT = ("things", "in_fast", "in_slow", "wandering")
_SECTIONS = """
- postgres/*/postgres/public/secret*:
    disable: true
- postgres/table/postgres/public/at_home:
    max_stage: snapshot_incremental
"""
_TABLES = (
    "create table things (id int primary key, word text)",
    "create table in_fast (id int primary key, word text) tablespace fast",
    "create table in_slow (id int primary key, word text) tablespace slow",
    "create table wandering (id int primary key, word text)",
    "create table secrets (id int primary key, word text, long text)",
    "create table secret_referred (id int primary key)",
    "create table referring (id int references secret_referred)",
    "create materialized view secret_view as select count(*) from secrets",
    "create index on secrets (word)",
    "create table at_home (id int primary key, word text) tablespace fast",
)
_MORE = "insert into {0} select i, md5(i::text) from generate_series({1}, {1} + 999) i"
_CONTENT = "select md5(string_agg(t::text, '|' order by id)) from {} t"
_BALANCES = """
select sum(abalance) from pgbench_accounts union all select sum(bbalance) from pgbench_branches
 union all select sum(tbalance) from pgbench_tellers
 union all select sum(delta) from pgbench_history
"""
_CHECKED = """
select count(bt_index_check(c.oid, true)) from pg_class c
  join pg_am a on a.oid = c.relam and amname = 'btree'
 where c.relkind = 'i' and c.relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True)
class Lost:
    """A host that lost all but its bucket."""

    host: Living
    snapshots: Sequence[str]  # oldest first
    then: Sequence[dict[str, str]]  # what the kept tables held at each snapshot

    def restore(self, options: str = "", pattern: str = "'postgres/*'") -> "Rebuilt":
        rebuilt = Rebuilt(self.host, self.host.folder / f"rebuilt{next(_NUMBERS)}")
        rebuilt.folder.mkdir(mode=0o711)
        mapped = Rebuilt.mapped(self.host.server, rebuilt.folder)
        rebuilt.outcome = self.host.sh(
            f"tb-restore --pgdata {rebuilt.pgdata} {mapped} {options} {pattern}"
        )
        return rebuilt


class Rebuilt:
    """A restored data directory with its tablespaces beside it."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.folder = folder
        self.pgdata = folder / "pgdata"
        self.outcome: Outcome
        self._server = host.server

    @staticmethod
    def mapped(server: PostgresServer, folder: Path) -> str:
        """Return options that map every tablespace of the server into the folder."""
        return " ".join(
            f"--tablespace-mapping {server.folder / name}={folder / name}" for name in _SPACES
        )

    @property
    def restored(self) -> dict[str, Any]:
        assert self.outcome.status == 0, self.outcome.stderr
        (record,) = self.outcome.records
        restored: dict[str, Any] = record["restored"]
        return restored

    def verified(self) -> bool:
        """Check the data directory with PostgreSQL's own pg_verifybackup."""
        argv = (self._server.bindir / "pg_verifybackup", self.pgdata)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.stdout == "backup successfully verified\n", done.stderr
        return done.returncode == 0

    @contextmanager
    def running(self) -> Iterator[PostgresServer]:
        """Run its server during the block, with sockets of its own."""
        server = PostgresServer(self.folder, self._server.version, bindir=self._server.bindir)
        with (self.pgdata / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"port = {server.port}\n")
            settings.write(f"unix_socket_directories = '{server.folder}'\n")
        with server:
            yield server


def wait_for_promotion(server: PostgresServer) -> None:
    """Wait until the server accepts writes, a moment after it accepts connections."""
    until(lambda: ask(server, "postgres", "select pg_is_in_recovery()") == "False")


@pytest.fixture(scope="module", params=[17, 18])
def own(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server of each version with tablespaces, for this module."""
    folder = server_folder / f"whole{request.param}"
    with PostgresServer(folder, request.param) as server:
        for name in _SPACES:
            (folder / name).mkdir(mode=0o700)
            unprivileged_account().own(folder / name)
            run(server, "postgres", f"create tablespace {name} location '{folder / name}'")
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def lost(
    own: PostgresServer, server_folder: Path, seaweed: SeaweedServer, tools: Forked
) -> Iterator[Lost]:
    """A host whose bucket has a chain of three, taken while pgbench wrote."""
    bucket = f"whole{own.version}"
    seaweed.create_bucket(bucket)
    bench = (own.bindir / "pgbench", "--no-vacuum")
    subprocess.run((*bench, "-i"), env=own.environ, check=True, capture_output=True)
    with living(server_folder, own, seaweed, tools, bucket) as host:
        host.configure(_SECTIONS)
        for statement in (*_TABLES, "create extension amcheck"):
            host.execute(statement)
        load = (*bench, "--client=2", "--rate=100", "--time=3600")
        with subprocess.Popen(load, env=own.environ, stderr=subprocess.DEVNULL) as process:
            then = [_turn(host, number) for number in range(3)]
            process.terminate()
        snapshots = host.snapshots()
        host.local_dir.rename(host.folder / "before")
        yield Lost(host, snapshots, then)
        shutil.rmtree(host.folder)
    seaweed.delete_bucket(bucket)


def _turn(host: Living, number: int) -> dict[str, str]:
    """Change the tables, take a snapshot, return what the kept tables hold in it."""
    for table in (*_KEPT, "at_home"):
        host.execute(_MORE.format(table, number * 1000))
    host.execute(
        "insert into secrets select i, md5(i::text), repeat(md5(i::text), 200)"
        f" from generate_series({number * 1000}, {number * 1000} + 999) i"
    )
    host.execute(f"insert into secret_referred values ({number})")
    host.execute(f"update things set word = 'changed' where id % 3 = {number}")
    host.execute(f"alter table wandering set tablespace {('fast', 'pg_default', 'slow')[number]}")
    then = {table: ask(host.server, "postgres", _CONTENT.format(table)) for table in _KEPT}
    kind = "--incremental" if number else "--base"
    outcome = host.good(f"tb-discover | tb-snapshot {kind} | tb-upload")
    assert outcome.records[0]["snapshot"]["kind"] == kind.lstrip("-")
    return then


@pytest.fixture(scope="module")
def rebuilt(lost: Lost) -> Rebuilt:
    """A cluster restored from the whole chain, shared by all tests that only look."""
    return lost.restore()


def contents(server: PostgresServer) -> dict[str, str]:
    return {table: ask(server, "postgres", _CONTENT.format(table)) for table in _KEPT}


def mend(rebuilt: Rebuilt, server: PostgresServer) -> None:
    """Run the script as the restore says to, once the server has started."""
    command = (server.bindir / "psql", "-X", "-d", "postgres", "-f", rebuilt.pgdata / SCRIPT)
    assert " ".join(map(str, command[1:])) in rebuilt.outcome.stderr
    done = subprocess.run(command, env=server.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_chain_taken_under_load_is_verified_starts_and_is_equal(
    lost: Lost, rebuilt: Rebuilt
) -> None:
    assert rebuilt.restored["snapshot"] == lost.snapshots[-1]
    assert rebuilt.verified()
    assert {path.name for path in rebuilt.folder.iterdir()} == {"pgdata", *_SPACES}
    for folder in (rebuilt.pgdata, *(rebuilt.folder / name for name in _SPACES)):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.owner() == lost.host.server.pgdata.owner()
    with rebuilt.running() as server:
        wait_for_promotion(server)
        assert contents(server) == lost.then[-1]
        balances = ask(server, "postgres", f"select array({_BALANCES})")
        assert len(set(balances.strip("[]").split(", "))) == 1
        timeline = "select pg_walfile_name(pg_current_wal_lsn())"
        assert ask(server, "postgres", timeline).startswith("00000002")


def test_what_would_be_made_is_told_and_nothing_made(lost: Lost, rebuilt: Rebuilt) -> None:
    planned = lost.restore("--dry-run")
    assert planned.outcome.status == 0, planned.outcome.stderr
    assert list(planned.folder.iterdir()) == []
    (record,) = planned.outcome.records
    would = record["would_restore"]
    assert would["target"] == str(planned.pgdata)
    assert would["chain"] == list(lost.snapshots)
    assert ", ".join(rebuilt.restored["left_out"]) in would["notes"][0]
    assert would["bytes_read"] > 1_000_000
    assert would["seconds"] > 0  # as long as that of the other test took


def test_what_was_left_out_is_named_comes_up_empty_and_is_usable_after_the_script(
    lost: Lost, rebuilt: Rebuilt
) -> None:
    named = [f"table/postgres/public/{name}" for name in ("at_home", "secret_referred", "secrets")]
    named = [f"postgres/{name}" for name in (*named, "view/postgres/public/secret_view")]
    assert rebuilt.restored["left_out"] == named
    assert f"no rows of {', '.join(named)} are in it" in rebuilt.outcome.stderr
    with rebuilt.running() as server:
        for _ in range(2):
            mend(rebuilt, server)
            for table in ("at_home", "secret_referred"):
                assert ask(server, "postgres", f"select count(*) from {table}") == "0"
            run(
                server,
                "postgres",
                "insert into secrets select i, 'w', repeat(i::text, 9999)"
                " from generate_series(1, 99) i on conflict do nothing",
            )
        assert ask(server, "postgres", "select long from secrets where word = 'w' limit 1")
        run(
            server,
            "postgres",
            "insert into secret_referred values (1)",
            "insert into referring values (1)",
        )
        assert int(ask(server, "postgres", _CHECKED)) > 10
        assert ask(server, "postgres", "show ignore_invalid_pages") == "on"
        server.restart()
        assert ask(server, "postgres", "show ignore_invalid_pages") == "off"
        assert ask(server, "postgres", "select count(*) from secrets") == "99"


def test_a_lone_base_comes_back_and_the_next_backup_is_a_base_even_past_the_old_lsn(
    lost: Lost,
) -> None:
    (old_end,) = lost.host.rows("select pg_current_wal_lsn()")[0]
    rebuilt = lost.restore(f"--snapshot {lost.snapshots[0]}")
    assert rebuilt.restored["snapshot"] == lost.snapshots[0]
    assert rebuilt.verified()
    with rebuilt.running() as server:
        wait_for_promotion(server)
        assert contents(server) == lost.then[0]
        host = lost.host
        there = Living(rebuilt.folder, "postgres", server, host.s3, host.bucket, host.tools)
        there.configure(_SECTIONS)
        shutil.copytree(lost.host.folder / "before", there.local_dir)
        write_wal_past(server, old_end)
        there.execute(_MORE.format("things", 100_000))
        record, *_ = there.good("tb-discover | tb-snapshot --incremental").records
        assert record["snapshot"]["kind"] == "base"
        assert record["why"] == "the server switched from timeline 1 to 2"


@pytest.mark.parametrize("own", [17], indirect=True)
def test_the_cluster_as_it_was_at_a_time(lost: Lost) -> None:
    rebuilt = lost.restore(f"--at {lost.snapshots[1][:8]}T{lost.snapshots[1][9:15]}Z")
    assert rebuilt.restored["snapshot"] == lost.snapshots[1]
    assert rebuilt.verified()
    with rebuilt.running() as server:
        assert contents(server) == lost.then[1]


@pytest.mark.parametrize("own", [17], indirect=True)
@pytest.mark.parametrize(
    ("options", "pattern", "sentence"),
    [
        ("", "'postgres/table/*'", "no snapshot of a whole cluster that may be restored"),
        ("", "", "--pgdata needs to know of which cluster; add 'postgres/*'"),
        ("--no-owner", "'postgres/*'", "--pgdata and --no-owner exclude one another"),
        ("--tablespace-mapping x", "'postgres/*'", "'x' does not map a folder"),
        ("--tablespace-mapping /x=/y", "'postgres/*'", "/x: no tablespace of the snapshot lies"),
        ("--pgdata-owner nobody-here", "'postgres/*'", "nobody-here"),
    ],
)
def test_what_makes_no_sense_is_refused(
    lost: Lost, options: str, pattern: str, sentence: str
) -> None:
    rebuilt = lost.restore(options, pattern)
    assert rebuilt.outcome.status in (1, 2)
    assert sentence in rebuilt.outcome.stderr
    assert list(rebuilt.folder.iterdir()) == []


@pytest.mark.parametrize("own", [17], indirect=True)
def test_folders_that_are_not_free_are_refused_and_not_touched(lost: Lost) -> None:
    folder = lost.host.folder / "full"
    (folder / "pgdata").mkdir(parents=True)
    (folder / "pgdata" / "precious").touch()
    into = f"tb-restore --pgdata {folder}/pgdata 'postgres/*'"
    assert (
        f"{folder}/pgdata: it cannot be restored into, it is not empty"
        in lost.host.sh(into).stderr
    )
    (folder / "pgdata" / "precious").unlink()
    occupied = lost.host.sh(into)
    assert occupied.status == 1
    assert (
        f"{lost.host.server.folder}/fast: it cannot be restored into, it is not empty"
        in occupied.stderr
    )
    assert "--tablespace-mapping OLD=NEW" in occupied.stderr
    assert list((folder / "pgdata").iterdir()) == []


def test_a_disk_without_room_is_found_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="the restore needs 2 PB there while it works"):
        check_room({tmp_path: 10**15, tmp_path.parent: 10**15})


@pytest.mark.parametrize("own", [17], indirect=True)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_restore_that_is_stopped_leaves_nothing_or_says_what_is_to_be_done(
    lost: Lost, how: signal.Signals
) -> None:
    folder = lost.host.folder / f"stopped{how}"
    folder.mkdir(mode=0o711)
    argv = f"tb-restore --pgdata {folder}/pgdata {Rebuilt.mapped(lost.host.server, folder)}"
    argv += " postgres/*"
    with started(lost.host, *argv.split()) as process:
        until(lambda: any((folder / "pgdata" / UNFINISHED).glob("pgdata/base")))
        os.kill(process.pid, how)
        process.communicate(timeout=60)
    if how is signal.SIGTERM:
        assert list(folder.iterdir()) == []
        return
    assert not (folder / "pgdata" / "PG_VERSION").exists()
    again = lost.host.tool(*argv.split())
    assert again.status == 1
    assert (
        f"{folder}/pgdata: an earlier tb-restore was killed while it filled it, or still does; if "
        f"none is at work there, empty it and its tablespaces, {folder}/fast, {folder}/slow, and "
        "begin again"
    ) in again.stderr
