"""Clusters that were made or configured in another way than usual come back."""

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import crc32c
import pytest

from tests.postgres.rebuilding import rebuild, running
from tests.postgres.restoring import Restoring, beside, rows, table
from tests.postgres.taking import Taking, ask, run
from tests.postgres.test_restore_tablespaces import copy_of
from three_backup.catalog.files import Files
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.binaries import find_binaries
from three_backup.sources.postgres.scratch.folder import scratch_folder
from three_backup.sources.postgres.scratch.server import scratch_server, scratch_user

_SEGMENTS = {17: "--wal-segsize=64", 18: "--wal-segsize=1"}
_ORIGINS = {17: "max_replication_slots", 18: "max_active_replication_origins"}
_SETTINGS = {
    "max_connections": "2000",
    "max_prepared_transactions": "20",
    "max_worker_processes": "50",
    "max_wal_senders": "30",
    "wal_level": "logical",
    "track_commit_timestamp": "on",
}


@pytest.fixture(scope="module", params=[17, 18])
def unusual(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server of each version with segments of another size, and with values above defaults."""
    version: int = request.param
    folder = server_folder / f"unusual{version}"
    settings = {**_SETTINGS, _ORIGINS[version]: "40"}
    with PostgresServer(folder, version, settings, initdb=[_SEGMENTS[version]]) as server:
        run(
            server,
            "postgres",
            "CREATE TABLE t AS SELECT 1 AS i",
            "SELECT pg_replication_origin_create('o' || i) FROM generate_series(1, 20) i",
            "SELECT pg_replication_origin_advance('o' || i, '0/1') FROM generate_series(1, 20) i",
        )
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def other(unusual: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """The unusual server; `PG*` lead to it."""
    for name, value in unusual.environ.items():
        monkeypatch.setenv(name, value)
    return unusual


def chain_of(server: PostgresServer, taking: Taking) -> list[Files]:
    """Take two snapshots, and write as a subscription does while each is taken."""

    def write() -> None:
        rows = ask(server, "postgres", "SELECT count(*) FROM t")
        run(
            server,
            "postgres",
            f"SELECT pg_replication_origin_create('late{rows}')",
            f"SELECT pg_replication_origin_session_setup('late{rows}')",
            "INSERT INTO t VALUES (1)",
        )

    base = taking.take(meanwhile=write)
    return [base, taking.take(base, meanwhile=write)]


def test_a_table_comes_back_whatever_its_cluster_forces_on_a_server(
    other: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    t = table("postgres", "t")
    restored = restoring.one(chain_of(other, taking), beside(t, level3="copy"))
    assert restored.facts["rows"] == len(rows(other, t))
    run(other, "postgres", "DROP TABLE copy")


def test_a_cluster_starts_though_its_files_say_less_than_the_server_ran_with(
    other: PostgresServer, taking: Taking, parent: Path
) -> None:
    configuration = other.pgdata / "postgresql.conf"
    before = configuration.read_text()
    configuration.write_text(before.replace("max_connections = '2000'", "max_connections = 20"))
    chain = chain_of(other, taking)
    configuration.write_text(before)
    rebuild(chain, parent)
    settings = (parent / "pgdata" / "postgresql.auto.conf").read_text()
    assert "max_connections = '2000'" in settings
    assert "max_wal_senders" not in settings
    with running(parent, other) as server:
        found = ask(server, "postgres", "SELECT count(*) FROM t")
        assert found == ask(other, "postgres", "SELECT count(*) FROM t")


def test_a_scratch_server_does_not_need_the_memory_of_the_source(
    other: PostgresServer, parent: Path
) -> None:
    user, binaries = scratch_user(None), find_binaries(other.version, other.bindir, {})
    with scratch_folder(parent, user) as folder:
        copy_of(other, folder)
        with (
            scratch_server(binaries, folder, user, "postgres") as server,
            server.connect("postgres") as scratch,
        ):
            assert scratch.execute("SHOW max_connections").fetchall() == [("100",)]


def test_a_cluster_of_programs_that_were_built_otherwise_names_what_they_need(
    other: PostgresServer, parent: Path
) -> None:
    user, binaries = scratch_user(None), find_binaries(other.version, other.bindir, {})
    with scratch_folder(parent, user) as folder:
        pgdata = copy_of(other, folder)
        control = bytearray((pgdata / "global" / "pg_control").read_bytes())
        end = next(n for n in range(512) if _checksum(control, n) == control[n : n + 4])
        place = control.index(struct.pack("<II", 8192, 131072))  # BLCKSZ and RELSEG_SIZE
        control[place : place + 4] = struct.pack("<I", 16384)
        control[end : end + 4] = _checksum(control, end)
        (pgdata / "global" / "pg_control").write_bytes(control)
        with (
            pytest.raises(BackupError, match="built like the source's, with BLCKSZ 16384"),
            scratch_server(binaries, folder, user, "postgres"),
        ):
            pass


def _checksum(control: bytearray, size: int) -> bytes:
    return struct.pack("<I", crc32c.crc32c(bytes(control[:size])))
