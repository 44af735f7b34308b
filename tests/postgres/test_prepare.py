"""What a server lacks for backups is found out, and given by the statements that are shown."""

import base64
import os
from collections.abc import Iterator

import pytest

from three_backup.demo.servers import PostgresServer
from three_backup.model.findings import Mark
from three_backup.sources.postgres.prepare import prepare
from three_backup.sources.postgres.scram import verifier
from three_backup.sources.preparing import Preparation

from .taking import run

_SEALED = "\n".join(("x", "END", "touch /tmp/owned"))
_QUOTED = '"' + _SEALED + '"'


@pytest.fixture
def bare(live: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """A server with a role that has no rights, as which we log in by TCP; databases are sealed."""
    run(live, "postgres", "CREATE ROLE bare LOGIN PASSWORD 'bare'")
    for database in ("sealed", _QUOTED):
        run(live, "postgres", f"CREATE DATABASE {database}")
        run(live, "postgres", f"REVOKE CONNECT ON DATABASE {database} FROM public")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    log_in(monkeypatch, "bare", "bare")
    yield live
    for database in ("sealed", _QUOTED):
        run(live, "postgres", f"DROP DATABASE {database}")
    run(live, "postgres", "DROP OWNED BY bare")
    run(live, "postgres", "DROP ROLE bare")
    run(live, "postgres", "DROP ROLE IF EXISTS backup")


def log_in(monkeypatch: pytest.MonkeyPatch, role: str, password: str) -> None:
    monkeypatch.setenv("PGUSER", role)
    monkeypatch.setenv("PGPASSWORD", password)


def prepared() -> Preparation:
    return prepare(os.environ)


def carry_out(server: PostgresServer, found: Preparation) -> None:
    for statement in " ".join(found.statements).split(";"):
        if statement.strip():
            run(server, "postgres", statement)


def test_only_what_a_login_lacks_is_shown_and_then_it_lacks_nothing(bare: PostgresServer) -> None:
    found = prepared()
    text = "\n".join(found.statements)
    assert found.found.mark is Mark.NOTE
    assert 'ALTER ROLE "bare" LOGIN REPLICATION;' in text
    assert 'GRANT CONNECT ON DATABASE "sealed" TO "bare";' in text
    assert "summarize_wal" not in text  # it is on
    carry_out(bare, found)
    run(bare, "postgres", f'GRANT CONNECT ON DATABASE {_QUOTED} TO "bare"')
    again = prepared()
    assert (again.found.mark, again.statements) == (Mark.GOOD, ())
    assert again.variables["PGPASSWORD"] == "bare"


def test_the_name_of_a_database_breaks_out_of_nothing_that_is_pasted(bare: PostgresServer) -> None:
    assert not any("END" in line for text in prepared().statements for line in text.splitlines())


def test_a_login_that_is_refused_gets_a_role_whose_password_nobody_reads(
    bare: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGUSER")
    monkeypatch.delenv("PGPASSWORD")
    found = prepared()
    password = found.variables["PGPASSWORD"]
    assert found.variables["PGUSER"] == "backup"
    assert password not in "\n".join((*found.statements, found.client, str(found.found)))
    for statement in found.statements:
        if "CREATE ROLE" in statement:
            run(bare, "postgres", statement)
    log_in(monkeypatch, "backup", password)
    assert not any("ROLE" in statement for statement in prepared().statements)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as the owner of a socket")
def test_root_finds_a_socket_at_any_port_and_asks_as_its_owner(
    live: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("three_backup.sources.postgres.prepare._SOCKETS", live.folder)
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"):
        monkeypatch.delenv(name)
    found = prepared()
    assert [text.partition(" ")[0] for text in found.statements] == ["CREATE", "GRANT"]
    assert found.variables["PGPORT"] == str(live.port)
    assert found.act is not None
    found.act()
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD"):
        monkeypatch.setenv(name, found.variables[name])
    assert prepared().statements == ()
    run(live, "postgres", "DROP ROLE backup")


def test_a_password_that_an_attempt_left_is_kept(
    bare: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, "backup", "left behind")
    assert prepared().variables["PGPASSWORD"] == "left behind"


def test_a_server_that_is_not_there_is_not_proposed(
    live: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    found = prepared()
    assert not found.answers
    assert "PGHOST and PGPORT" in found.found.remedy


def test_a_verifier_is_the_one_of_the_rfc() -> None:
    """The user's password of RFC 7677, section 3."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert verifier("pencil", salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
