"""What stands in the way of a snapshot is said with its remedy, and nothing wrong is taken."""

import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError, UnreachableError
from three_backup.sources.base import NothingToTakeError, ParentUnusableError

from .flipping import flipping_proxy
from .taking import Taking, ask, run

_NUMBERS = count(1)
_WORK = "CREATE TABLE work AS SELECT generate_series(1, 20000) AS id"


@pytest.fixture
def own(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """A server of the test's own, to be broken."""
    with PostgresServer(server_folder / f"own{next(_NUMBERS)}", 17) as server:
        _point_to(server, monkeypatch)
        yield server
    shutil.rmtree(server.folder)


@pytest.fixture
def role(live: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role that may connect and nothing else."""
    run(live, "postgres", "CREATE ROLE minimal LOGIN")
    monkeypatch.setenv("PGUSER", "minimal")
    yield "minimal"
    run(live, "postgres", "DROP ROLE minimal")


def test_login_replication_and_connect_are_enough(
    live: PostgresServer, database: str, role: str, taking: Taking
) -> None:
    run(live, "postgres", f"ALTER ROLE {role} REPLICATION")
    run(live, database, _WORK)
    base = taking.take()
    increment = taking.take(base)
    assert {carried.id.level3 for carried in increment.manifest.objects} >= {"work"}
    assert taking.said == []


def test_a_role_without_replication_is_told_what_it_lacks(role: str, taking: Taking) -> None:
    with pytest.raises(BackupError, match="permission denied to start WAL sender") as refusal:
        taking.take()
    assert refusal.value.code == "postgres.no_replication_role"
    assert refusal.value.hint == 'run as a superuser: ALTER ROLE "minimal" REPLICATION'


def test_a_missing_line_of_pg_hba_is_written_out(own: PostgresServer, taking: Taking) -> None:
    (own.pgdata / "pg_hba.conf").write_text("local all all trust\n")
    own.restart()
    with pytest.raises(BackupError, match=r"no pg_hba\.conf entry for replication") as refusal:
        taking.take()
    assert refusal.value.code == "postgres.no_hba"
    assert refusal.value.hint.endswith('local replication "postgres" scram-sha-256')


def test_a_wrong_password_is_refused_and_not_repeated(
    live: PostgresServer, monkeypatch: pytest.MonkeyPatch, taking: Taking
) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    with pytest.raises(BackupError, match="password authentication failed") as refusal:
        taking.take()
    assert refusal.value.code == "postgres.denied"
    assert "hunter2" not in f"{refusal.value!r} {refusal.value} {refusal.value.__cause__!r}"


def test_slots_that_are_all_in_use_are_said(own: PostgresServer, taking: Taking) -> None:
    _configure(own, max_replication_slots="1")
    run(own, "postgres", "SELECT pg_create_physical_replication_slot('taken')")
    with pytest.raises(BackupError, match="all replication slots are in use") as refusal:
        taking.take()
    assert refusal.value.code == "postgres.no_slot"
    assert "max_replication_slots" in refusal.value.hint


def test_a_server_that_writes_too_little_wal_is_refused(
    own: PostgresServer, taking: Taking
) -> None:
    _configure(own, wal_level="minimal", max_wal_senders="0", summarize_wal="off")
    with pytest.raises(BackupError, match="wal_level is minimal") as refusal:
        taking.take()
    assert refusal.value.hint.startswith("run ALTER SYSTEM SET wal_level = replica")


def test_without_summaries_there_are_only_bases(own: PostgresServer, taking: Taking) -> None:
    remedy = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf()"
    _configure(own, summarize_wal="off")
    base = taking.take()
    assert [remedy in sentence for sentence in taking.said] == [True]
    with pytest.raises(ParentUnusableError, match="summarize_wal is off"):
        taking.take(base)
    run(own, "postgres", _WORK)
    _configure(own, summarize_wal="on")
    with pytest.raises(ParentUnusableError, match="WAL summaries are required"):
        taking.take(base)


def test_a_server_on_another_timeline_needs_a_base(own: PostgresServer, taking: Taking) -> None:
    base = taking.take()
    own.stop()
    (own.pgdata / "recovery.signal").touch()
    with (own.pgdata / "postgresql.auto.conf").open("a") as configuration:
        configuration.write("restore_command = 'false'\n")
    own.start()
    _wait_for_writes(own)
    with pytest.raises(ParentUnusableError, match="switched from timeline 1 to 2"):
        taking.take(base)


def test_a_server_that_was_set_back_needs_a_base_even_when_it_went_on(
    own: PostgresServer, taking: Taking, tmp_path: Path
) -> None:
    own.stop()
    saved = tmp_path / "saved"
    subprocess.run(("cp", "-a", own.pgdata, saved), check=True)
    own.start()
    run(own, "postgres", _WORK)
    base = taking.take()
    own.stop()
    shutil.rmtree(own.pgdata)
    subprocess.run(("cp", "-a", saved, own.pgdata), check=True)
    own.start()
    with pytest.raises(ParentUnusableError, match="the server was set back to"):
        taking.take(base)
    end = base.manifest.facts["end_lsn"]
    while ask(own, "postgres", f"SELECT pg_current_wal_lsn() < '{end}'::pg_lsn") == "True":
        run(own, "postgres", _WORK, "DROP TABLE work", "SELECT pg_switch_wal()")
    run(own, "postgres", "CHECKPOINT", _WORK)
    with pytest.raises(ParentUnusableError, match="knows no checkpoint at"):
        taking.take(base)


def test_an_idle_standby_has_nothing_to_take(
    own: PostgresServer,
    server_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    taking: Taking,
) -> None:
    standby = PostgresServer(server_folder / f"own{next(_NUMBERS)}", 17)
    _clone(own, standby)
    with standby:
        _point_to(standby, monkeypatch)
        base = taking.take()
        assert base.manifest.facts["in_recovery"] is True
        with pytest.raises(NothingToTakeError, match="the standby has not got past"):
            taking.take(base)
        run(own, "postgres", _WORK, "CHECKPOINT")
        lsn = ask(own, "postgres", "SELECT pg_current_wal_lsn()")
        _replayed(standby, lsn)
        assert taking.take(base).manifest.snapshot.parent == base.manifest.snapshot.time


def test_a_slot_that_lost_its_wal_is_explained(own: PostgresServer, taking: Taking) -> None:
    _configure(own, max_slot_wal_keep_size="1MB", max_wal_size="32MB", wal_keep_size="0")

    def write_much() -> None:
        for _ in range(6):
            run(own, "postgres", "SELECT pg_logical_emit_message(false, '', 'x')")
            run(own, "postgres", "SELECT pg_switch_wal()")
        run(own, "postgres", "CHECKPOINT")

    run(
        own,
        "postgres",
        "CREATE TABLE large AS SELECT repeat('x', 900) FROM generate_series(1, 90000)",
    )
    with pytest.raises(BackupError) as refusal:
        taking.take(meanwhile=write_much)
    assert "max_slot_wal_keep_size" in refusal.value.hint


def test_a_server_that_dies_in_the_middle_is_unreachable(
    own: PostgresServer, taking: Taking
) -> None:
    run(
        own,
        "postgres",
        "CREATE TABLE large AS SELECT repeat('x', 900) FROM generate_series(1, 90000)",
    )
    with pytest.raises(UnreachableError, match="PostgreSQL does not answer"):
        taking.take(meanwhile=own.kill)


def test_a_snapshot_that_is_interrupted_ends_quietly_and_at_once(
    live: PostgresServer, taking: Taking, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taking.take(meanwhile=interrupt)
    assert caplog.records == []
    while ask(live, "postgres", "SELECT count(*) FROM pg_replication_slots") != "0":
        pass  # the server notices in its own time


def test_one_byte_changed_on_the_way_fails_the_snapshot(
    live: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, taking: Taking
) -> None:
    run(live, database, "CREATE TABLE marked AS SELECT 'Jorge Luis Borges' AS author")
    heap = ask(live, database, "SELECT pg_relation_filepath('marked')")
    with flipping_proxy(live.folder / f".s.PGSQL.{live.port}", b"Jorge", b"Gorge") as port:
        monkeypatch.setenv("PGHOST", "127.0.0.1")
        monkeypatch.setenv("PGPORT", str(port))
        with pytest.raises(BackupError, match=heap) as refusal:
            taking.take()
    assert refusal.value.code == "postgres.checksum"


def _point_to(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)


def _configure(server: PostgresServer, **settings: str) -> None:
    for name, value in settings.items():
        run(server, "postgres", f"ALTER SYSTEM SET {name} = '{value}'")
    server.restart()


def _wait_for_writes(server: PostgresServer) -> None:
    """Until a server that recovers has promoted itself."""
    while ask(server, "postgres", "SELECT pg_is_in_recovery()") == "True":
        pass


def _replayed(standby: PostgresServer, lsn: str) -> None:
    """Until the standby has what the primary wrote."""
    query = f"SELECT pg_last_wal_replay_lsn() < '{lsn}'::pg_lsn"
    while ask(standby, "postgres", query) == "True":
        pass


def _clone(primary: PostgresServer, standby: PostgresServer) -> None:
    program = standby.bindir / "pg_basebackup"
    argv: tuple[str | Path, ...] = (program, "--pgdata", standby.pgdata, "--checkpoint=fast")
    subprocess.run(argv, env=primary.environ, check=True, capture_output=True)
    (standby.pgdata / "standby.signal").touch()
    with (standby.pgdata / "postgresql.auto.conf").open("a") as configuration:
        configuration.write(f"port = {standby.port}\n")
        configuration.write(f"unix_socket_directories = '{standby.folder}'\n")
        configuration.write(
            f"primary_conninfo = 'host={primary.folder} port={primary.port} user=postgres'\n"
        )
    unprivileged_account().own(standby.pgdata)
