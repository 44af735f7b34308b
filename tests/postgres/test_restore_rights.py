"""A role that may not write into the target is told before any read, by a dry run as well."""

from collections.abc import Iterator

import pytest

from tests.postgres.restoring import Restoring, beside, table
from tests.postgres.taking import Taking, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError


@pytest.fixture
def reader(live: PostgresServer, database: str) -> Iterator[str]:
    run(live, database, "CREATE ROLE reader LOGIN")
    yield "reader"
    run(live, database, "DROP OWNED BY reader", "DROP ROLE reader")


@pytest.mark.parametrize(
    ("granted", "levels", "refusal", "remedy"),
    [
        ("", {"level3": "copy"}, "for database {0}", 'GRANT CREATE ON DATABASE "{0}" TO "reader"'),
        (
            'GRANT CREATE ON DATABASE "{0}" TO reader',
            {"level3": "copy"},
            "for schema public",
            'GRANT CREATE ON SCHEMA public TO "reader"',
        ),
        ("", {"level1": "nowhere"}, "to create database", 'ALTER ROLE "reader" CREATEDB'),
    ],
)
def test_a_dry_run_and_a_restore_refuse_alike_before_anything_is_read(
    live: PostgresServer,
    database: str,
    reader: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
    granted: str,
    levels: dict[str, str],
    refusal: str,
    remedy: str,
) -> None:
    run(live, database, "CREATE TABLE t (i int)", granted.format(database))
    chain = [taking.take()]
    monkeypatch.setenv("PGUSER", reader)
    read: list[int] = []
    wanted = beside(table(database, "t"), **levels)
    planned = restoring.plans(chain, wanted, advance=read.append)[wanted.target]
    restored = restoring.all(chain, wanted, advance=read.append)[wanted.target]
    assert read == []
    for outcome in (planned, restored):
        assert isinstance(outcome, BackupError)
        assert outcome.code == "postgres.may_not_write"
        assert outcome.message.startswith(f'{wanted.target}: PostgreSQL: role "reader" may not')
        assert outcome.message.endswith(f"permission denied {refusal.format(database)}")
        assert remedy.format(database) in outcome.hint


def test_who_may_not_drop_what_would_be_replaced_is_told_before_anything_is_read(
    live: PostgresServer,
    database: str,
    reader: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(
        live,
        database,
        "CREATE TABLE t (i int)",
        f'GRANT CREATE ON DATABASE "{database}" TO reader',
        "GRANT CREATE ON SCHEMA public TO reader",
    )
    chain, wanted = [taking.take()], beside(table(database, "t"))
    monkeypatch.setenv("PGUSER", reader)
    read: list[int] = []
    refused = restoring.plans(chain, wanted, overwrite=True, advance=read.append)[wanted.target]
    assert isinstance(refused, BackupError)
    assert refused.message.endswith("must be owner of table t")
    assert read == []
    run(live, database, "ALTER TABLE t OWNER TO reader")
    restoring.all(chain, wanted, overwrite=True)


def test_a_schema_that_is_not_there_yet_needs_no_grant(
    live: PostgresServer,
    database: str,
    reader: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(live, database, "CREATE TABLE t (i int)", f"GRANT CREATE ON DATABASE {database} TO reader")
    chain = [taking.take()]
    monkeypatch.setenv("PGUSER", reader)
    restoring.one(chain, beside(table(database, "t"), level2="attic"))
