"""An obstacle to a snapshot is reported with its remedy, and no wrong snapshot is taken."""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError

from .flipping import flipping_proxy
from .taking import Taking, ask, run

_NUMBERS = count(1)
_REJECTED = (
    (
        "replication all 127.0.0.1/32",
        'host replication "postgres" 127.0.0.1/32 scram-sha-256',
    ),
    ("all all 127.0.0.1/32", 'host "postgres" "postgres" 127.0.0.1/32 scram-sha-256'),
)
"""What a line rejects, and the line that lets in."""
_WORK = "CREATE TABLE work AS SELECT generate_series(1, 20000) AS id"


@pytest.fixture
def own(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """A server that only this test uses and may break."""
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


def test_an_archive_that_takes_nothing_holds_no_backup_up(
    own: PostgresServer, taking: Taking, patience: Callable[[float], None]
) -> None:
    """The backup brings its own WAL; waiting for this archive would never end."""
    patience(10)
    run(
        own,
        "postgres",
        "ALTER SYSTEM SET archive_mode = on",
        "ALTER SYSTEM SET archive_command = 'false'",
    )
    own.restart()
    run(own, "postgres", _WORK)
    base = taking.take()
    run(own, "postgres", "UPDATE work SET id = 0 WHERE id = 1")
    taking.take(base)
    assert ask(own, "postgres", "SELECT archived_count FROM pg_stat_archiver") == "0"


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


@pytest.mark.parametrize(("rejected", "line"), _REJECTED)
def test_a_line_of_pg_hba_that_rejects_gets_one_above_it(
    own: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    taking: Taking,
    rejected: str,
    line: str,
) -> None:
    lets_in = "local all all trust\nhost all all 127.0.0.1/32 trust\n"
    (own.pgdata / "pg_hba.conf").write_text(f"host {rejected} reject\n{lets_in}")
    own.restart()
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    with pytest.raises(BackupError) as refusal:
        taking.take()
    assert refusal.value.code == "postgres.no_hba"
    assert refusal.value.hint == (
        "add this line to pg_hba.conf, above the one that rejects, and run SELECT "
        f"pg_reload_conf(): {line}"
    )


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


def test_a_snapshot_that_is_interrupted_ends_quietly_and_at_once(
    live: PostgresServer, taking: Taking, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taking.take(meanwhile=interrupt)
    assert caplog.records == []
    while ask(live, "postgres", "SELECT count(*) FROM pg_replication_slots") != "0":
        pass  # the server takes a moment to notice


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
