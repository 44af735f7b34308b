"""Findings about a server before its first backup, with their remedies."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from three_backup.config.settings import Settings
from three_backup.demo.servers import PostgresServer
from three_backup.model.findings import Finding, Mark
from three_backup.model.schedule import Cron
from three_backup.model.storage import Storage
from three_backup.sources.jobs import CheckJob, Room
from three_backup.sources.postgres.source import PostgresSource

from .taking import run

NOW = datetime(2026, 11, 23, 10, 17, tzinfo=UTC)


def settings(bindir: Path) -> Settings:
    return Settings(Storage(Path("/nowhere")), pg_bindir=bindir)


def findings(chosen: Settings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in PostgresSource().check(CheckJob(chosen, NOW))}


@pytest.fixture
def role(live: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role that may not replicate, and a database that lets nobody in."""
    run(live, "postgres", "CREATE ROLE bare LOGIN")
    run(live, "postgres", "CREATE DATABASE sealed")
    run(live, "postgres", "REVOKE CONNECT ON DATABASE sealed FROM public")
    monkeypatch.setenv("PGUSER", "bare")
    yield "bare"
    run(live, "postgres", "DROP DATABASE sealed")
    run(live, "postgres", "DROP ROLE bare")


def test_a_server_that_is_prepared_is_good(live: PostgresServer) -> None:
    found = findings(settings(live.bindir))
    assert {finding.mark for finding in found.values()} == {Mark.GOOD}
    assert set(found) == {
        "postgres",
        "backups",
        "replication",
        "increments",
        "configuration",
        "databases",
        "restores",
    }


def test_what_the_role_lacks_is_told_all_at_once(live: PostgresServer, role: str) -> None:
    found = findings(settings(live.bindir))
    assert found["replication"].remedy == 'run as a superuser: ALTER ROLE "bare" REPLICATION'
    assert "GRANT CONNECT ON DATABASE" in found["databases"].remedy
    assert found["backups"].mark is Mark.GOOD


def test_summaries_that_go_before_the_next_snapshot_are_noted(live: PostgresServer) -> None:
    seldom = Settings(
        Storage(Path("/nowhere")),
        Cron("0 3 1 1 *"),
        Cron("0 3 1 * *"),
        pg_bindir=live.bindir,
    )
    found = findings(seldom)["increments"]
    assert found.mark is Mark.NOTE
    assert "wal_summary_keep_time = '61d'" in found.remedy


def test_a_host_without_the_programs_of_the_server_is_told_the_package(
    live: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = findings(settings(tmp_path))
    assert found["restores"].mark is Mark.BAD
    assert "install the package postgresql-" in found["restores"].remedy


@pytest.mark.parametrize(
    ("last_base", "free", "said"),
    [
        (None, 1 << 40, "a base takes at most"),
        (None, 0, "a base takes at most"),
        (5_000_000, 5_000_000, "the last base took 5 MB"),
        (5_000_000, 4_999_999, "the last base took 5 MB"),
    ],
)
def test_the_room_for_the_next_base_is_compared_with_what_is_free(
    live: PostgresServer, last_base: int | None, free: int, said: str
) -> None:
    room = Room(Path("/backups"), free, last_base)
    job = CheckJob(settings(live.bindir), NOW, room)
    (found,) = (one for one in PostgresSource().check(job) if one.subject == "room")
    assert said in found.sentence
    fits = free >= (last_base or 1)
    assert found.mark is (Mark.GOOD if fits else Mark.NOTE)
    assert bool(found.remedy) is not fits
