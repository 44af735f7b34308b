"""A page with a wrong checksum stops no backup, but no snapshot promises its table."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.forked import Forked
from three_backup.catalog.files import Files
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.lacking import why_lacking

from .flipping import flipping_proxy
from .living import living
from .taking import DISABLED, Taking, ask, run, table

_ROWS = "SELECT i AS id, md5(i::text) AS word FROM generate_series(1, 3000) i"
_ENDED = b"C\0\0\0\x10BASE_BACKUP\0"
_FAILED = b"E\0\0\0\x10SFATAL\0Mno\0\0"


@pytest.fixture(scope="module", params=[17, 18])
def broken(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server of each version, whose files this module's tests damage."""
    with PostgresServer(server_folder / f"damaged{request.param}", request.param) as server:
        yield server
    shutil.rmtree(server.folder)


@pytest.fixture
def shop(broken: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database with two tables; `PG*` lead to its server."""
    for name, value in broken.environ.items():
        monkeypatch.setenv(name, value)
    run(broken, "postgres", "CREATE DATABASE shop")
    run(broken, "shop", f"CREATE TABLE bad AS {_ROWS}", f"CREATE TABLE good AS {_ROWS}")
    yield "shop"
    run(broken, "postgres", "DROP DATABASE shop WITH (FORCE)")


@contextmanager
def damaged(server: PostgresServer, relation: str) -> Iterator[str]:
    """Change a byte of the relation's file during the block; yield the file's path."""
    path = ask(server, "shop", f"SELECT pg_relation_filepath('{relation}')")
    _flip(server, server.pgdata / path)
    yield path
    _flip(server, server.pgdata / path)


def _flip(server: PostgresServer, file: Path) -> None:
    server.stop()
    if file.exists():
        body = bytearray(file.read_bytes())
        body[5000] ^= 0xFF
        file.write_bytes(body)
    server.start()


def promised(snapshot: Files) -> set[str]:
    carried = (entry.id for entry in snapshot.manifest.objects)
    return {object_id.level3 for object_id in carried if object_id.level1 == "shop"}


def test_a_damaged_table_is_said_and_not_promised_as_long_as_it_is_damaged(
    broken: PostgresServer, shop: str, taking: Taking
) -> None:
    with damaged(broken, "bad") as path:
        base = taking.take()
        assert promised(base) == {"good"}
        (sentence,) = taking.said
        assert f": {path}, a file of {table(shop, 'bad')}, has pages whose " in sentence
        assert f'"./{path}", block 0' in sentence
        lack = why_lacking(base.manifest, table(shop, "bad"))
        assert lack is not None
        assert lack.message.endswith(f"its file {path} has pages with wrong checksums")
        taking.said.clear()
        increment = taking.take(base)
        assert promised(increment) == {"good"}, "its bytes are those of the parent"
        assert len(taking.said) == 1
        run(broken, shop, "DROP TABLE bad", f"CREATE TABLE bad AS {_ROWS}")
        taking.said.clear()
        assert promised(taking.take(increment)) == {"good", "bad"}
        assert taking.said == []


def test_a_damaged_index_in_a_tablespace_is_its_table_s(
    broken: PostgresServer, shop: str, taking: Taking
) -> None:
    folder = broken.folder / "some where"
    run(broken, shop, f"COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; mkdir -p \"{folder}\"'")
    run(broken, shop, f"CREATE TABLESPACE elsewhere LOCATION '{folder}'")
    run(broken, shop, "CREATE INDEX apart ON bad (id) TABLESPACE elsewhere", "CHECKPOINT")
    with damaged(broken, "apart") as path:
        assert promised(taking.take()) == {"good"}
        assert f": {path}, a file of {table(shop, 'bad')}, " in taking.said[0]
    run(broken, shop, "DROP INDEX apart", "DROP TABLESPACE elsewhere")


def test_a_damaged_catalog_spoils_its_database_alone(
    broken: PostgresServer, shop: str, taking: Taking
) -> None:
    run(broken, "postgres", "CREATE TABLE other AS SELECT 1 AS id")
    with damaged(broken, "pg_description") as path:
        base = taking.take()
        assert promised(base) == set()
        assert table("postgres", "other") in {carried.id for carried in base.manifest.objects}
        assert f": {path}, a file of {table(shop, 'bad')} and 1 more, has " in taking.said[0]
    run(broken, "postgres", "DROP TABLE other")


def test_without_a_catalog_that_all_databases_share_there_is_no_snapshot(
    broken: PostgresServer, shop: str, taking: Taking
) -> None:
    with (
        damaged(broken, "pg_shdescription"),
        pytest.raises(BackupError, match="every database needs") as refusal,
    ):
        taking.take()
    assert refusal.value.code == "postgres.damaged"


def test_what_is_disabled_may_be_damaged(
    broken: PostgresServer, shop: str, taking: Taking
) -> None:
    taking.settings[table(shop, "bad")] = DISABLED
    with damaged(broken, "bad"):
        assert promised(taking.take()) == {"good"}
        assert taking.said == []


def test_what_the_server_says_last_fails_the_snapshot(
    broken: PostgresServer, shop: str, taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flipping_proxy(broken.folder / f".s.PGSQL.{broken.port}", _ENDED, _FAILED) as port:
        monkeypatch.setenv("PGHOST", "127.0.0.1")
        monkeypatch.setenv("PGPORT", str(port))
        with pytest.raises(BackupError, match="PostgreSQL: no"):
            taking.take()


def test_a_damaged_table_fails_each_run_and_comes_back_from_before(
    broken: PostgresServer,
    shop: str,
    server_folder: Path,
    seaweed: SeaweedServer,
    bucket: str,
    tools: Forked,
) -> None:
    bad, good = str(table(shop, "bad")), str(table(shop, "good"))
    with living(server_folder, broken, seaweed, tools, bucket) as host:
        cycle = "tb-discover -s postgres/table/shop | tb-snapshot {} | tb-upload"
        before = host.good(cycle.format("--base")).records[0]["snapshot"]["id"]
        with damaged(broken, "bad") as path:
            for kind in ("--base", "--incremental"):
                outcome = host.sh(cycle.format(kind))
                assert outcome.status == 1
                records = {record["id"]: record for record in outcome.records}
                assert records[bad]["error"]["code"] == "snapshot.lacks"
                assert f"its file {path} has pages with wrong" in records[bad]["error"]["message"]
                assert "restore it from an older snapshot" in outcome.stderr
                assert len(records[good]["uploaded"]["snapshots"]) == 1
            run(broken, shop, "DROP TABLE bad")
            restored = host.good(f"tb-restore {bad}")
            assert before in restored.stdout + restored.stderr
            assert ask(broken, shop, "SELECT count(*) FROM bad") == "3000"
