"""A kill of the tool or the server: the next run ends well, and nothing is written twice."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.model.storage import Storage
from three_backup.sources.clickhouse import attempt, client
from three_backup.sources.clickhouse.client import connect
from three_backup.sources.clickhouse.operation import find

from .taking import Taking, rows, table
from .test_backup import insert, make

LONG = 10


class KilledError(BaseException):
    """Stands for a SIGKILL: a BaseException, so nothing is cleaned up."""


class Gate:
    """A proxy to S3 that delays the key that completes a backup, until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def meddle(self, request: Request, forward: Forward) -> Answer:
        if request.is_("PUT") and request.path.endswith("/.backup"):
            self.opened.wait(LONG)
        return forward()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def storage(storage: Storage, gate: Gate) -> Iterator[Storage]:
    """The storage, with S3 behind the gate."""
    with proxy(storage.endpoint or "", gate.meddle) as endpoint:
        yield replace(storage, endpoint=endpoint)


def noted(taking: Taking, database: str) -> list[attempt.Attempt]:
    hits = table(database, "hits")
    return [note.attempt for note in attempt.noted(Carrier(hits), taking.journals(hits))]


def begin_and_die(taking: Taking, database: str) -> attempt.Attempt:
    """Ask the server for a base, and die while the server works on it."""

    def die() -> None:
        raise KilledError

    with pytest.raises(KilledError):
        taking.take(table(database, "hits"), meanwhile=die)
    (left,) = noted(taking, database)
    return left


def is_at_work(left: attempt.Attempt) -> bool:
    known = find(connect("test"), left.id)
    return known is not None and known.at_work


def backups(server: ClickhouseServer, database: str) -> int:
    ((count,),) = server.rows(
        f"SELECT count() FROM system.backups WHERE position(name, '/{database}/hits/') > 0 "
        "AND status = 'BACKUP_CREATED'"
    )
    return int(count)


def test_a_note_that_was_killed_as_it_was_written_is_gone_with_the_next_run(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database)
    journals = taking.journals(table(database, "hits"))
    torn = journals / "20260101T000000Z-base" / ".attempt.json.new"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"v":')
    taking.take(table(database, "hits"))
    assert not torn.parent.exists()


def test_a_backup_that_outlived_its_client_is_adopted_and_not_doubled(
    live: ClickhouseServer, database: str, taking: Taking, gate: Gate
) -> None:
    make(live, database)
    left = begin_and_die(taking, database)
    assert taking.catalog.snapshots(left.carrier) == []
    assert is_at_work(left)
    manifest = taking.take(table(database, "hits"), meanwhile=gate.opened.set)
    assert manifest.snapshot == left.snapshot
    assert backups(live, database) == 1
    assert "begun by an earlier run, is finished" in taking.said[0]
    assert noted(taking, database) == []
    before = rows(live, table(database, "hits"))
    taking.restore(table(database, "hits"), level3="again")
    assert rows(live, table(database, "again")) == before


def test_an_attempt_that_the_server_never_heard_of_is_cleared(
    live: ClickhouseServer, database: str, taking: Taking, gate: Gate
) -> None:
    make(live, database)
    gate.opened.set()
    hits = table(database, "hits")
    time = datetime(2026, 10, 1, tzinfo=UTC)
    unheard = attempt.Attempt(Carrier(hits), SnapshotId(time), "unheard", (), 1, {}, "ClickHouse")
    unheard.note(taking.journals(hits))
    taking.store.write(f"{unheard.key}/data/half", b"half")
    assert taking.take(hits).snapshot != unheard.snapshot
    assert not list(taking.store.all_keys(f"{unheard.key}/"))
    assert noted(taking, database) == []


def test_what_builds_on_something_else_by_now_is_cleared(
    live: ClickhouseServer, database: str, taking: Taking, gate: Gate
) -> None:
    make(live, database)
    hits = table(database, "hits")
    base = taking.take(hits, meanwhile=gate.opened.set)
    gate.opened.clear()
    left = begin_and_die(taking, database)
    gate.opened.set()
    live.execute(insert(database, 5))
    manifest = taking.take(hits, base)
    assert manifest.snapshot.parent == base.snapshot.time
    assert not list(taking.store.all_keys(f"{left.key}/"))
    assert noted(taking, database) == []


def test_what_nobody_will_finish_is_cleared_after_a_day(
    live: ClickhouseServer, database: str, taking: Taking, gate: Gate
) -> None:
    make(live, database)
    hits = table(database, "hits")
    left = begin_and_die(taking, database)
    threading.Timer(0.2, gate.opened.set).start()
    now = datetime.now(UTC)
    taking.clear(hits, now - timedelta(days=1))
    assert noted(taking, database) == [left]
    taking.clear(hits, now + timedelta(days=1))
    assert noted(taking, database) == []
    assert taking.stored_keys() == []
    operation = find(connect("test"), left.id)
    assert operation is not None
    assert not operation.at_work


def test_a_server_that_is_killed_in_the_middle_is_said_and_the_next_run_is_whole(
    server_folder: Path, taking: Taking, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ClickhouseServer(server_folder / "ch-killed") as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        server.execute("CREATE DATABASE shop")
        make(server, "shop")
        hits = table("shop", "hits")

        def kill() -> None:
            if server.pid:
                server.kill()

        with pytest.raises(UnreachableError, match="cannot be reached"):
            taking.take(hits, meanwhile=kill)
        (left,) = noted(taking, "shop")
        with pytest.raises(UnreachableError):
            taking.take(hits)
        assert f"{left.key}/.lock" in taking.stored_keys()
        gate.opened.set()
        server.start()
        taking.store.delete([f"{left.key}/.backup"])  # the gate may have let it pass by now
        manifest = taking.take(hits)
        assert manifest.facts["chain"][0]["folder"] != left.folder
        assert not list(taking.store.all_keys(f"{left.key}/"))
        before = rows(server, hits)
        taking.server = server
        taking.restore(hits, level3="again")
        assert rows(server, table("shop", "again")) == before


def test_a_backup_without_anybody_who_remembers_it_is_adopted_if_it_is_whole(
    server_folder: Path, taking: Taking, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ClickhouseServer(server_folder / "ch-restarted") as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        server.execute("CREATE DATABASE shop")
        make(server, "shop")
        left = begin_and_die(taking, "shop")
        asked = connect("test")
        gate.opened.set()
        while is_at_work(left):
            pass
        server.kill()
        server.start()
        assert find(asked, left.id) is None
        assert taking.take(table("shop", "hits")).snapshot == left.snapshot


def test_a_server_that_moves_nothing_is_given_up_and_nothing_is_left(
    live: ClickhouseServer, database: str, taking: Taking, gate: Gate
) -> None:
    make(live, database)
    taking.settings = replace(taking.settings, server_timeout=timedelta(seconds=0.3))

    def open_once_it_is_told_to_end() -> None:
        while not live.rows("SELECT 1 FROM system.processes WHERE is_cancelled"):
            pass
        gate.opened.set()

    opener = threading.Thread(target=open_once_it_is_told_to_end)
    opener.start()
    with pytest.raises(BackupError) as refused:
        taking.take(table(database, "hits"))
    opener.join()
    assert refused.value.code == "clickhouse.stalled"
    assert taking.beats
    assert "server_timeout" in refused.value.hint
    assert taking.stored_keys() == []
    assert noted(taking, database) == []


def test_a_server_that_stands_still_is_unreachable_and_the_next_run_goes_on(
    live: ClickhouseServer,
    database: str,
    taking: Taking,
    gate: Gate,
    patience: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_PULSE_SECONDS", 0.5)
    make(live, database)
    patience(2)

    journals = taking.journals(table(database, "hits"))

    def halt_once_it_is_noted() -> None:
        while not list(journals.rglob("attempt.json")):
            pass
        os.kill(live.pid, signal.SIGSTOP)

    halt = threading.Thread(target=halt_once_it_is_noted, daemon=True)
    halt.start()
    try:
        with pytest.raises(UnreachableError, match="does not answer"):
            taking.take(table(database, "hits"))
    finally:
        halt.join(10)
        os.kill(live.pid, signal.SIGCONT)
    gate.opened.set()
    assert len(noted(taking, database)) == 1
    patience(60)
    taking.take(table(database, "hits"))
    assert noted(taking, database) == []
