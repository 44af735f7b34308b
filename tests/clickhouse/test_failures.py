"""Errors of ClickHouse become a sentence with a remedy and without secrets."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from three_backup.config.settings import Settings
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3.store import Store
from three_backup.sources.clickhouse.client import connect
from three_backup.sources.clickhouse.discover import discover
from three_backup.sources.clickhouse.failures import explained

from .taking import Taking, rows, table

OTHER = "00000000-0000-0000-0000-000000000001"
SECRET = "a'b\\c" + "d" * 40


@pytest.fixture(scope="module")
def elsewhere(
    server_folder: Path, seaweed: SeaweedServer
) -> Iterator[tuple[ClickhouseServer, Storage]]:
    """A server with valid and invalid named collections, and its storage."""
    seaweed.create_bucket("collections")
    keys = {"access_key_id": seaweed.access_key, "secret_access_key": seaweed.secret_key}
    url = f"{seaweed.endpoint}/collections/"
    collections = {
        "good": {"url": url, **keys},
        "wrong_key": {"url": url, **keys, "secret_access_key": SECRET},
        "no_bucket": {"url": f"{seaweed.endpoint}/nowhere/", **keys},
        "down": {"url": "http://127.0.0.1:9/collections/", **keys},
    }
    storage = Storage(
        server_folder / "collections",
        seaweed.endpoint,
        "collections",
        "host",
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
    )
    with ClickhouseServer(server_folder / "ch-collections", collections) as server:
        server.execute("CREATE DATABASE shop")
        server.execute("CREATE TABLE shop.hits ENGINE MergeTree ORDER BY id AS SELECT 1 AS id")
        yield server, storage


@pytest.fixture
def through(
    elsewhere: tuple[ClickhouseServer, Storage], monkeypatch: pytest.MonkeyPatch
) -> Taking:
    server, storage = elsewhere
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    return Taking(server, storage)


@pytest.mark.parametrize(
    ("collection", "code"),
    [
        ("wrong_key", "clickhouse.s3_denied"),
        ("no_bucket", "clickhouse.s3_no_bucket"),
        ("down", "clickhouse.s3_unreachable"),
        ("missing", "clickhouse.collection"),
    ],
)
def test_what_keeps_the_server_from_s3_is_said_and_leaves_nothing(
    through: Taking, collection: str, code: str
) -> None:
    through.settings = replace(through.settings, clickhouse_named_collection=collection)
    with pytest.raises(BackupError) as refused:
        through.take(table("shop", "hits"))
    assert refused.value.code == code
    assert refused.value.hint
    assert "ddddd" not in str(refused.value)
    assert not list(through.journals(table("shop", "hits")).iterdir())


def test_with_a_named_collection_no_key_of_ours_is_sent(
    through: Taking, elsewhere: tuple[ClickhouseServer, Storage]
) -> None:
    server, _ = elsewhere
    through.settings = replace(through.settings, clickhouse_named_collection="good")
    hits = table("shop", "hits")
    manifest = through.chain(hits, "INSERT INTO shop.hits VALUES (2)", "SELECT 1")[-1]
    assert manifest.facts["place"].startswith("S3(good, ")
    names = server.rows("SELECT name FROM system.backups WHERE position(name, 'S3(good') > 0")
    assert len(names) >= 3
    through.restore(hits, level3="again", overwrite=True)
    assert rows(server, table("shop", "again")) == rows(server, hits)
    foreign = Taking(server, replace(through.storage, foreign=True))
    foreign.settings = through.settings
    foreign.restore(hits, level3="again", overwrite=True)  # a foreign storage rewrites nothing
    moved = Taking(server, replace(through.storage, prefix="moved"))
    for key in through.stored_keys(""):
        moved.store.write(key, through.store.read(key))
        through.store.delete([key])
    moved.settings = through.settings
    moved.restore(hits, level3="again", overwrite=True)
    assert rows(server, table("shop", "again")) == rows(server, hits)


def test_a_wrong_password_is_said_and_not_shown(
    live: ClickhouseServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "guessed-and-wrong")
    with pytest.raises(BackupError, match="does not accept the user or the password") as refused:
        list(discover((), Settings(Storage(tmp_path))))
    assert refused.value.code == "clickhouse.credentials"
    assert "guessed-and-wrong" not in str(refused.value)


def test_a_server_that_is_away_is_unreachable(
    live: ClickhouseServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLICKHOUSE_HOST", "away.example")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        list(discover((), Settings(Storage(tmp_path))))


def test_a_base_that_is_gone_or_another_one_is_said(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    live.execute(f"CREATE TABLE {database}.hits ENGINE MergeTree ORDER BY id AS SELECT 1 AS id")
    hits = table(database, "hits")
    base, _ = taking.chain(hits, f"INSERT INTO {database}.hits VALUES (2)")
    (key,) = [
        key for key in taking.stored_keys() if str(base.snapshot) in key and ".backup" in key
    ]
    body = taking.store.read(key)
    taking.store.write(key, body.replace(base.facts["uuid"].encode(), OTHER.encode()))
    with pytest.raises(BackupError) as refused:
        taking.restore(hits, level3="again")
    assert refused.value.code == "clickhouse.other_base"
    taking.store.delete([key])
    with pytest.raises(BackupError) as refused:
        taking.restore(hits, level3="again")
    assert refused.value.code == "clickhouse.no_base"


@pytest.mark.parametrize("secret", [SECRET, "x" * 3000, "просто"])
def test_what_the_client_repeats_of_a_statement_is_redacted(
    live: ClickhouseServer, tmp_path: Path, secret: str
) -> None:
    storage = Storage(tmp_path, bucket="bucket", access_key="AKIAEXAMPLE", secret_key=secret)
    client = connect("test", storage)
    escaped = secret.replace("\\", "\\\\").replace("'", "\\'")
    with pytest.raises(BackupError) as refused:
        client.ask(f"SELECT * FROM never.there WHERE 'AKIAEXAMPLE' = '{escaped}'")
    cause = refused.value.__cause__
    assert isinstance(cause, BackupError)
    for text in (str(refused.value), str(cause)):
        assert "AKIAEXAMPLE" not in text
        assert secret[:20] not in text
        assert escaped[-20:] not in text


@pytest.mark.parametrize(
    ("said", "code", "part"),
    [
        (
            (
                "Code: 497. DB::Exception: Received from localhost:9000. DB::Exception: backup: "
                "Not enough privileges. To execute this query, it's necessary to have the grant "
                "BACKUP ON shop.hits. (ACCESS_DENIED); (query: BACKUP TABLE shop.hits)"
            ),
            "clickhouse.denied",
            "GRANT BACKUP ON shop.hits TO",
        ),
        (
            (
                "Code: 497. DB::Exception: Received from localhost:9000. DB::Exception: backup: "
                "Not enough privileges. To execute this query, it's necessary to have the grant "
                "READ, WRITE ON S3. (ACCESS_DENIED)"
            ),
            "clickhouse.denied",
            "GRANT READ, WRITE ON S3 TO",
        ),
        (
            (
                "Code: 598. DB::Exception: Backup S3('http://s3/b') already exists. "
                "(BACKUP_ALREADY_EXISTS), Stack trace (when copying this message)"
            ),
            "clickhouse.backup_exists",
            "already exists",
        ),
        (
            (
                "clickhouse-client failed (exit status 241): Received exception from server "
                "(version 26.9):; Code: 497. DB::Exception: Received from localhost:9000. "
                "DB::Exception: backup: Not enough privileges. To execute this query, it's "
                "necessary to have the grant DROP DATABASE ON drill.*. (ACCESS_DENIED); (query: x)"
            ),
            "clickhouse.denied",
            "GRANT DROP DATABASE ON drill.* TO",
        ),
        (
            (
                "Code: 497. DB::Exception: nobody may (ACCESS_DENIED) "
                "(version 24.3.2.23 (official build))"
            ),
            "clickhouse.denied",
            "(nobody may (ACCESS_DENIED)); grant what three_backup-clickhouse(7) lists",
        ),
        (
            (
                "Code: 359. DB::Exception: Table or Partition in d.t was not dropped.; Reason:; "
                "1. Size (60.00 GB) is greater than max_[table/partition]_size_to_drop (50.00 GB)"
            ),
            "clickhouse.drop_limit",
            "set max_table_size_to_drop to 0",
        ),
        ("Code: 603. DB::Exception: wrong uuid", "clickhouse.other_base", "wrong uuid"),
        ("Code: 115. DB::Exception: Unknown setting", "clickhouse.too_old", "24.3"),
        ("Code: 9999. DB::Exception: what nobody knows", "clickhouse.failed", "nobody knows"),
        ("Segmentation fault", "clickhouse.failed", "Segmentation fault"),
    ],
)
def test_an_error_has_a_code_and_a_remedy(said: str, code: str, part: str) -> None:
    error = explained("clickhouse/table/default/shop/hits", said)
    assert error.code == code
    assert part in str(error)
    assert "query:" not in str(error)
    assert "Stack trace" not in str(error)


def test_the_endpoint_of_the_configuration_is_asked_first(
    live: ClickhouseServer, storage: Storage
) -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        Store(replace(storage, endpoint="http://127.0.0.1:9", timeout=timedelta(0))).size("here")
