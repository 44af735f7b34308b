"""Checks of a server before the first backup; the trial backup leaves nothing in S3."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from three_backup.config.settings import Settings
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.findings import Finding, Mark
from three_backup.model.storage import Storage
from three_backup.s3.store import Store
from three_backup.sources.clickhouse.source import ClickhouseSource
from three_backup.sources.jobs import CheckJob

NOW = datetime(2026, 11, 23, 10, 17, tzinfo=UTC)


def findings(storage: Storage) -> dict[str, Finding]:
    store = Store(storage) if storage.bucket else None
    job = CheckJob(Settings(storage), NOW)
    found: Iterator[Finding] = ClickhouseSource().check(job, store, "check/clickhouse/")
    return {finding.subject: finding for finding in found}


def test_the_server_is_seen_to_write_and_nothing_is_left(
    live: ClickhouseServer, database: str, storage: Storage
) -> None:
    live.execute(f"CREATE TABLE {database}.tiny ENGINE MergeTree ORDER BY id AS SELECT 1 AS id")
    found = findings(storage)
    assert found["backups"].mark is Mark.GOOD
    assert found["backups"].sentence.startswith("the server wrote clickhouse/")
    assert list(Store(storage).all_keys("")) == []


def test_a_server_that_s3_refuses_is_told_which_option_to_check(
    live: ClickhouseServer, database: str, storage: Storage
) -> None:
    live.execute(f"CREATE TABLE {database}.tiny ENGINE MergeTree ORDER BY id AS SELECT 1 AS id")
    wrong = replace(storage, secret_key="wrong" * 8)
    found = findings(wrong)
    assert found["backups"].mark is Mark.BAD
    assert "s3_secret_key" in found["backups"].remedy
    assert "wrongwrong" not in found["backups"].sentence


def test_without_a_bucket_that_is_said(live: ClickhouseServer, storage: Storage) -> None:
    assert findings(replace(storage, bucket=None))["backups"].remedy == "set s3_bucket"
