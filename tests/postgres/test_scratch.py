"""The scratch server is private, starts despite settings of the source, and leaves nothing."""

import os
import select
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.postgres.taking import run as run_sql
from three_backup.command import Program, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.binaries import Binaries, find_binaries
from three_backup.sources.postgres.scratch.folder import PGDATA, acting_as, scratch_folder
from three_backup.sources.postgres.scratch.server import (
    ScratchServer,
    scratch_server,
    scratch_user,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")


@pytest.fixture
def binaries(live: PostgresServer) -> Binaries:
    return find_binaries(live.version, live.bindir, {})


def copy_of(live: PostgresServer, folder: Path) -> None:
    """Copy the cluster into `pgdata` in the folder."""
    pgdata = folder / PGDATA
    argv = [str(live.bindir / "pg_basebackup"), "--checkpoint=fast", "--no-sync"]
    subprocess.run([*argv, f"--pgdata={pgdata}"], check=True)
    user = scratch_user(None)
    for path in (pgdata, *pgdata.rglob("*")):
        if user is not None:
            shutil.chown(path, user)


def value_of(server: ScratchServer, query: str, database: str = "postgres") -> object:
    with server.connect(database) as scratch:
        ((value,),) = scratch.execute(query.encode())
        return value


def test_settings_of_the_source_do_not_matter(
    live: PostgresServer, database: str, binaries: Binaries, parent: Path
) -> None:
    for setting in ("default_transaction_read_only = on", "session_preload_libraries = 'missing'"):
        run_sql(live, "postgres", f"ALTER DATABASE {database} SET {setting}")
    user = scratch_user(None)
    with scratch_folder(parent, user) as folder:
        copy_of(live, folder)
        automatic = "shared_preload_libraries = 'missing'\narchive_mode = on\n"
        (folder / PGDATA / "postgresql.auto.conf").write_text(automatic)
        (folder / PGDATA / "recovery.signal").touch()
        with scratch_server(binaries, folder, user, "postgres") as server:
            assert value_of(server, "SHOW transaction_read_only", database) == "off"
            psql = server.program("psql", "-Atc", "SHOW search_path", database=database)
            assert run(psql) == "\n"


@as_root
def test_nobody_else_gets_in(live: PostgresServer, binaries: Binaries, parent: Path) -> None:
    with scratch_folder(parent, "postgres") as folder:
        copy_of(live, folder)
        with scratch_server(binaries, folder, "postgres", "postgres") as server:
            psql = server.program("psql", "-Atc", "SELECT 1", database="postgres")
            assert run(psql) == "1\n"
            stranger = Program(psql.argv, psql.environment, user="nobody")
            with pytest.raises(BackupError, match="Permission denied"):
                run(stranger)
            folder.chmod(0o777)
            (server.socket_folder / ".s.PGSQL.5432").chmod(0o777)
            with pytest.raises(BackupError, match="Peer authentication failed"):
                run(stranger)


def test_a_long_path_gets_its_socket_in_a_short_one(
    live: PostgresServer, binaries: Binaries, parent: Path
) -> None:
    long = parent / ("long" * 25)
    long.mkdir(mode=0o711)
    user = scratch_user(None)
    with scratch_folder(long, user) as folder:
        copy_of(live, folder)
        with scratch_server(binaries, folder, user, "postgres") as server:
            assert value_of(server, "SELECT 1") == 1
            sockets = server.socket_folder
            assert long not in sockets.parents
        assert not sockets.exists()


def test_the_log_says_why_a_server_did_not_start(
    live: PostgresServer, binaries: Binaries, parent: Path
) -> None:
    user = scratch_user(None)
    with scratch_folder(parent, user) as folder:
        copy_of(live, folder)
        for segment in (folder / PGDATA / "pg_wal").glob("0*"):
            segment.unlink()
        with (
            pytest.raises(BackupError, match=r"did not start: .*required checkpoint record"),
            scratch_server(binaries, folder, user, "postgres"),
        ):
            pass
    assert list(parent.iterdir()) == []


@as_root
def test_a_user_who_cannot_reach_the_folder_is_told_apart(
    live: PostgresServer, binaries: Binaries, parent: Path
) -> None:
    parent.chmod(0o700)
    with (
        scratch_folder(parent, "postgres") as folder,
        pytest.raises(
            BackupError, match=r"user postgres.* cannot enter .*set pg_bindir, scratch_dir"
        ),
        scratch_server(binaries, folder, "postgres", "postgres"),
    ):
        pass


KILLED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.server import scratch_server, scratch_user
from three_backup.sources.postgres.scratch.folder import scratch_folder
parent, bindir, major = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
user = scratch_user(None)
with scratch_folder(parent, user) as folder:
    print(folder, flush=True)
    sys.stdin.readline()
    with scratch_server(Binaries(bindir, major), folder, user, "postgres"):
        print("started", flush=True)
        sys.stdin.readline()
"""


def test_the_next_run_clears_what_a_killed_one_left_and_nothing_that_lives(
    live: PostgresServer, parent: Path
) -> None:
    argv = [sys.executable, "-c", KILLED, str(parent), str(live.bindir), str(live.version)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdin is not None
        assert tool.stdout is not None
        folder = Path(tool.stdout.readline().strip())
        copy_of(live, folder)
        print(file=tool.stdin, flush=True)
        assert tool.stdout.readline() == "started\n"
        user = scratch_user(None)
        with scratch_folder(parent, user):
            assert folder.exists()
        postmaster = int((folder / PGDATA / "postmaster.pid").read_text().split("\n")[0])
        handle = os.pidfd_open(postmaster)
        tool.send_signal(signal.SIGKILL)
        tool.wait()
        with scratch_folder(parent, user) as own:
            assert list(parent.iterdir()) == [own]
        assert select.select([handle], [], [], 0)[0] == [handle]
        os.close(handle)


def test_those_who_come_at_once_do_not_clear_what_another_is_about_to_lock(parent: Path) -> None:
    def come_and_go(_: int) -> None:
        for _ in range(100):
            with scratch_folder(parent, None):
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    assert list(parent.iterdir()) == []


def left_over(parent: Path, live: PostgresServer) -> Path:
    """Make a folder as a killed run leaves it, with a link to the live server's data directory."""
    folder = parent / "three_backup-restore-left"
    folder.mkdir(mode=0o755)
    (folder / PGDATA).symlink_to(live.pgdata)
    return folder


def test_a_link_to_a_live_server_does_not_end_it(live: PostgresServer, parent: Path) -> None:
    folder, before = left_over(parent, live), live.pid
    with scratch_folder(parent, scratch_user(None)):
        assert not folder.exists()
    assert (live.pid, (live.pgdata / "postmaster.pid").exists()) == (before, True)
    run_sql(live, "postgres", "SELECT 1")


@as_root
def test_what_another_user_made_to_look_like_ours_is_left_alone(
    live: PostgresServer, parent: Path
) -> None:
    folder = left_over(parent, live)
    shutil.chown(folder, "daemon")
    (parent / "three_backup-restore-file").touch()
    with scratch_folder(parent, scratch_user(None)):
        assert folder.exists()
    run_sql(live, "postgres", "SELECT 1")


def test_a_scratch_server_is_ended_by_whatever_path_its_folder_was_named(
    live: PostgresServer, binaries: Binaries, parent: Path
) -> None:
    user, link = scratch_user(None), parent / "link"
    (parent / "there").mkdir(mode=0o711)
    link.symlink_to(parent / "there")
    with scratch_folder(link, user) as folder:
        copy_of(live, folder)
        with scratch_server(binaries, folder, user, "postgres"):
            process = int((folder / PGDATA / "postmaster.pid").read_text().split("\n")[0])
            handle = os.pidfd_open(process)
        assert select.select([handle], [], [], 0)[0] == [handle]
        os.close(handle)


def test_pages_that_recovery_missed_are_read_out_of_the_log(
    binaries: Binaries, tmp_path: Path
) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        "LOG:  redo starts at 0/2000028\n"
        "WARNING:  page 918 of relation base/16384/19773 does not exist\n"
        "WARNING:  page 3 of relation base/16384/19773_fsm does not exist\n"
        "WARNING:  page 0 of relation pg_tblspc/16390/PG_17_202406281/5/16391 is uninitialized\n"
        "WARNING:  page 7 of relation global/1262 does not exist\n"
    )
    assert ScratchServer(binaries, "postgres", tmp_path, log, ()).invalid_pages() == {
        "base/16384/19773",
        "pg_tblspc/16390/PG_17_202406281/5/16391",
        "global/1262",
    }


def test_missing_binaries_are_named_with_their_package(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="install the package postgresql-99"):
        find_binaries(99, None, {"PATH": str(tmp_path)}, tmp_path)


def test_binaries_of_another_version_are_passed_over(live: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=rf"has postgres \(PostgreSQL\) {live.version}"):
        find_binaries(99, live.bindir, {"PATH": str(tmp_path)}, tmp_path)
    found = find_binaries(live.version, tmp_path, {"PATH": str(live.bindir)}, tmp_path)
    assert found == Binaries(live.bindir, live.version)


@as_root
def test_root_writes_nothing_where_the_user_of_the_server_planted_a_link(
    parent: Path, tmp_path: Path
) -> None:
    user = scratch_user(None)
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o755)
    with scratch_folder(parent, user) as folder:
        link0 = folder / "link0"
        with acting_as(user):
            link0.symlink_to(precious)
        with acting_as(user), pytest.raises(PermissionError):
            (link0 / "global").mkdir()
        with acting_as(user):
            (folder / "own").write_text("ours")
        assert (folder / "own").owner() == user
        assert os.getuid() == 0
        (precious / "roots").write_text("root acts as itself again")
    assert [path.name for path in precious.iterdir()] == ["roots"]
