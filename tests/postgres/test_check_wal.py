"""tb-check on the WAL of a server, which itself says how its slot and its archiver fare."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from three_backup.config.settings import Settings
from three_backup.demo.servers import PostgresServer
from three_backup.model.findings import Finding, Mark
from three_backup.model.storage import Storage
from three_backup.model.wal import Wal
from three_backup.sources.jobs import CheckJob
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.wal.slot import slot_name

from .taking import ask, run

OFF = Settings(Storage(Path("/nowhere")))
PULL, PUSH = replace(OFF, wal=Wal.PULL), replace(OFF, wal=Wal.PUSH)
_NUMBERS = count(1)
_OURS = slot_name(OFF.storage)
_CREATE = f"SELECT pg_create_physical_replication_slot('{_OURS}', true)"
_WRITE = (
    "SELECT pg_logical_emit_message(true, 'tests', repeat('x', 900000))",
    "SELECT pg_switch_wal()",
)

_SAFE = "SELECT safe_wal_size FROM pg_replication_slots"


def found(chosen: Settings, subject: str, now: datetime | None = None) -> list[Finding]:
    job = CheckJob(chosen, now or datetime.now(UTC))
    return [finding for finding in PostgresSource().check(job) if finding.subject == subject]


@contextmanager
def serving(
    folder: Path, version: int, settings: Mapping[str, str], patch: pytest.MonkeyPatch
) -> Iterator[PostgresServer]:
    with PostgresServer(folder, version, settings, initdb=["--wal-segsize=1"]) as server:
        for name, value in server.environ.items():
            patch.setenv(name, value)
        yield server
    shutil.rmtree(folder)


@pytest.fixture(params=[17, 18])
def bounded(
    request: pytest.FixtureRequest, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgresServer]:
    """A server that gives up a slot which keeps more than 4 MB, and has room for one."""
    settings = {
        "max_slot_wal_keep_size": "4MB",
        "max_replication_slots": "1",
        "min_wal_size": "2MB",
        "max_wal_size": "64MB",
    }
    folder = server_folder / f"bounded{next(_NUMBERS)}"
    with serving(folder, request.param, settings, monkeypatch) as server:
        yield server


@pytest.fixture(params=[17, 18])
def archiving(
    request: pytest.FixtureRequest, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgresServer]:
    """A server that archives, by a program that is to be told."""
    folder = server_folder / f"archiving{next(_NUMBERS)}"
    with serving(folder, request.param, {"archive_mode": "on"}, monkeypatch) as server:
        yield server


def test_two_hosts_that_archive_one_cluster_have_a_slot_each() -> None:
    other = replace(OFF.storage, prefix="other")
    assert _OURS.startswith("three_backup")
    assert slot_name(other) != _OURS
    assert slot_name(replace(other, timeout=timedelta(seconds=1))) == slot_name(other)


def test_a_slot_is_followed_from_its_absence_to_its_loss(bounded: PostgresServer) -> None:
    (absent,) = found(PULL, "slot")
    assert (absent.mark, absent.remedy) == (Mark.NOTE, "run tb-wal pull")
    run(bounded, "postgres", _CREATE)
    (fresh,) = found(PULL, "slot")
    assert fresh.mark is Mark.GOOD
    assert " more are safe" in fresh.sentence
    later = datetime.now(UTC) + timedelta(hours=3)
    (idle,) = found(PULL, "slot", later)
    assert (idle.mark, idle.remedy) == (Mark.NOTE, "run tb-wal pull")
    assert "for 3h" in idle.sentence
    run(bounded, "postgres", *_WRITE * 8)
    assert int(ask(bounded, "postgres", _SAFE)) < 0
    (endangered,) = found(PULL, "slot")
    assert (endangered.mark, "about to be given up" in endangered.sentence) == (Mark.NOTE, True)
    for _ in range(3):
        run(bounded, "postgres", *_WRITE, "CHECKPOINT")
    (lost,) = found(PULL, "slot")
    assert lost.mark is Mark.BAD
    assert "given up by the server (wal_removed)" in lost.sentence
    assert "tb-run" in lost.remedy


def test_a_server_without_room_for_a_slot_is_told(bounded: PostgresServer) -> None:
    run(bounded, "postgres", _CREATE.replace(_OURS, "other"))
    absent, full = found(PULL, "slot")
    assert absent.mark is Mark.NOTE
    assert full.mark is Mark.BAD
    assert "all 1 replication slots are in use" in full.sentence


def test_a_slot_that_may_fill_the_disk_is_noted(live: PostgresServer) -> None:
    _, unbounded = found(PULL, "slot")
    assert unbounded.mark is Mark.NOTE
    assert "max_slot_wal_keep_size" in unbounded.remedy


@pytest.mark.parametrize("chosen", [OFF, PUSH])
def test_a_slot_that_nobody_pulls_any_more_is_noted_with_what_drops_it(
    live: PostgresServer, chosen: Settings
) -> None:
    assert found(chosen, "slot") == []
    run(live, "postgres", _CREATE)
    (left,) = found(chosen, "slot")
    assert left.mark is Mark.NOTE
    run(live, "postgres", left.remedy.partition(", run ")[2])
    assert found(chosen, "slot") == []


def test_a_server_that_does_not_archive_is_told_how(live: PostgresServer) -> None:
    (off,) = found(PUSH, "archiving")
    assert off.mark is Mark.BAD
    assert "ALTER SYSTEM SET archive_mode = on" in off.remedy
    assert found(OFF, "archiving") == []


def test_archiving_is_followed_from_another_command_to_success(archiving: PostgresServer) -> None:
    (other,) = found(PUSH, "archiving")
    assert (other.mark, other.sentence) == (Mark.BAD, "archive_command does not run tb-wal")
    command_by(archiving, "false # tb-wal push %p")
    until(archiving, "failed_count > 0")
    failing, quiet = found(PUSH, "archiving")
    assert failing.mark is Mark.BAD
    assert ask(archiving, "postgres", "SELECT last_failed_wal FROM pg_stat_archiver") in (
        failing.sentence
    )
    assert (quiet.mark, "archive_timeout" in quiet.remedy) == (Mark.NOTE, True)
    run(archiving, "postgres", "ALTER SYSTEM SET archive_timeout = '5min'")
    command_by(archiving, "true # tb-wal push %p")
    until(archiving, "last_archived_time > last_failed_time")
    (fine,) = found(PUSH, "archiving")
    assert fine.mark is Mark.GOOD


def command_by(server: PostgresServer, command: str) -> None:
    run(
        server,
        "postgres",
        f"ALTER SYSTEM SET archive_command = '{command}'",
        "SELECT pg_reload_conf()",
        *_WRITE,
    )


def until(server: PostgresServer, condition: str) -> None:
    query = f"SELECT coalesce({condition}, false) FROM pg_stat_archiver"
    deadline = time.monotonic() + 120
    while ask(server, "postgres", query) != "True":
        assert time.monotonic() < deadline
        run(server, "postgres", "SELECT pg_sleep(0.2)")
