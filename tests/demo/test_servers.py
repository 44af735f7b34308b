"""The servers that tb-demo and all other tests run."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.lab.dialects import certificate_in
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.s3.store import Store


def one(server: PostgresServer, query: str) -> object:
    with psycopg.connect(server.conninfo()) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_server_has_the_version_that_was_asked_for(postgres: PostgresServer) -> None:
    assert str(one(postgres, "SHOW server_version")).startswith(f"{postgres.version}.")


def test_a_server_summarizes_its_wal_and_checks_its_pages(postgres: PostgresServer) -> None:
    assert one(postgres, "SHOW summarize_wal") == "on"
    assert one(postgres, "SHOW data_checksums") == "on"


def test_its_environment_is_enough_to_find_a_server(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in postgres.environ.items():
        monkeypatch.setenv(name, value)
    with psycopg.connect("") as connection:
        assert connection.info.port == postgres.port
    assert shutil.which("pg_dump") == str(postgres.bindir / "pg_dump")


def test_loopback_asks_for_the_password(postgres: PostgresServer) -> None:
    address = f"host=127.0.0.1 port={postgres.port} user=postgres dbname=postgres"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"{address} password=guessed")
    psycopg.connect(f"{address} password={postgres.password}").close()


def test_postgres_keeps_its_rows_and_its_port_when_it_is_killed(server_folder: Path) -> None:
    with PostgresServer(server_folder / "killed") as server:
        port = server.port
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.kill()
        server.start()
        assert one(server, "SELECT answer FROM kept") == 42
        assert one(server, "SHOW port") == str(port)


def test_settings_reach_the_server_and_wrong_ones_are_reported(server_folder: Path) -> None:
    with PostgresServer(server_folder / "set", settings={"work_mem": "5MB"}) as server:
        assert one(server, "SHOW work_mem") == "5MB"
    wrong = PostgresServer(server_folder / "wrong", settings={"work_mem": "much"})
    with pytest.raises(BackupError, match="invalid value for parameter"):
        wrong.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL runs as another user only for root")
def test_programs_that_the_server_may_not_execute_are_copied(
    server_folder: Path, postgres17: PostgresServer
) -> None:
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    package = postgres17.bindir.parents[1]
    shutil.copytree(package, closed / package.name)
    with PostgresServer(
        server_folder / "copied", bindir=closed / package.name / "pginstall" / "bin"
    ) as server:
        assert server.bindir.is_relative_to(server.folder)
        assert one(server, "SELECT 1") == 1


def test_seaweed_speaks_tls_with_a_certificate(server_folder: Path, tmp_path: Path) -> None:
    certificate, key = certificate_in(tmp_path)
    with SeaweedServer(server_folder / "tls-s3", (certificate, key)) as server:
        server.create_bucket("sealed")
        storage = Storage(
            local_dir=tmp_path,
            endpoint=server.secure_endpoint,
            bucket="sealed",
            access_key=server.access_key,
            secret_key=server.secret_key,
        )
        with pytest.raises(BackupError, match="certificate"):
            Store(storage).write("key", b"value")
        store = Store(replace(storage, ca_file=certificate))
        store.write("key", b"value")
        assert store.read("key") == b"value"


def test_seaweed_keeps_its_keys_and_its_port_when_it_is_killed(
    server_folder: Path, tmp_path: Path
) -> None:
    with SeaweedServer(server_folder / "killed-s3") as server:
        server.create_bucket("kept")
        store = Store(
            Storage(
                local_dir=tmp_path,
                endpoint=server.endpoint,
                bucket="kept",
                access_key=server.access_key,
                secret_key=server.secret_key,
            )
        )
        store.write("key", b"value")
        server.kill()
        server.start()
        assert store.read("key") == b"value"
