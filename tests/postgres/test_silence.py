"""PostgreSQL is waited for as long as it is at work, and no longer."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psycopg
import pytest

from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError, SilentError, UnreachableError
from three_backup.host.signals import StoppedError
from three_backup.sources.postgres.connection import connect

from .taking import Taking, ask, run

Patience = Callable[[float], None]


@pytest.fixture
def live(postgres17: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """One version is enough."""
    for name, value in postgres17.environ.items():
        monkeypatch.setenv(name, value)
    return postgres17


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@contextmanager
def locked(live: PostgresServer, database: str) -> Iterator[None]:
    run(live, database, "CREATE TABLE IF NOT EXISTS orders AS SELECT 1 AS id")
    with psycopg.connect(live.conninfo(database)) as holder:
        holder.execute("LOCK orders")
        yield


def family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


@contextmanager
def stopped(live: PostgresServer) -> Iterator[None]:
    """Stop every process of the server."""
    postmaster = int((live.pgdata / "postmaster.pid").read_text().split()[0])
    pids = list(family(postmaster))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def waiting(live: PostgresServer) -> int:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return int(ask(live, "postgres", asked))


def test_a_statement_that_waits_for_a_lock_is_given_up_and_ended(
    live: PostgresServer, database: str, patience: Patience
) -> None:
    patience(0.5)
    with locked(live, database), connect(database) as session:
        with within(5), pytest.raises(SilentError) as given_up:
            session.execute("SELECT * FROM public.orders")
        assert f"PostgreSQL, database {database} showed no sign of life" in str(given_up.value)
        assert "it waits for Lock relation" in str(given_up.value)
        assert waiting(live) == 0
        with pytest.raises(SilentError), session.transaction():
            session.execute("SELECT 1")


PLANTED = """
CREATE TABLE public.caught (who text);
CREATE FUNCTION public.concat_ws(text, text, text) RETURNS text LANGUAGE plpgsql AS
$$BEGIN INSERT INTO public.caught VALUES (current_user); RETURN 'x'; END$$
"""


def test_who_asks_about_a_silent_statement_runs_no_code_of_the_database(
    live: PostgresServer, database: str, patience: Patience
) -> None:
    run(live, database, PLANTED)
    patience(1.5)
    with locked(live, database), connect(database) as session, pytest.raises(SilentError):
        session.execute("SELECT * FROM public.orders")
    assert ask(live, database, "SELECT count(*) FROM public.caught") == "0"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM generate_series(1, 1500000) i WHERE md5(i::text) > 'f'",
        "CREATE INDEX ON public.wide (md5(id::text))",
    ],
)
def test_a_statement_that_works_is_not_silent(
    statement: str, live: PostgresServer, database: str, patience: Patience
) -> None:
    run(live, database, "CREATE TABLE wide AS SELECT generate_series(1, 400000) AS id")
    patience(0.9)
    with connect(database) as session:
        session.execute("SET default_transaction_read_only = off")
        session.execute(statement.encode())


def test_a_server_that_stands_still_is_unreachable(
    live: PostgresServer, patience: Patience
) -> None:
    patience(0.5)
    with connect() as session, stopped(live):
        with within(9), pytest.raises(UnreachableError, match="does not answer"):
            session.execute("SELECT 1")
        with within(9), pytest.raises(UnreachableError, match="timeout expired"), connect():
            pass
    with connect() as session:
        session.execute("SELECT 1")


@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt])
def test_a_signal_ends_a_wait_and_what_the_server_is_at(
    error: type[BaseException], live: PostgresServer, database: str
) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with locked(live, database), connect(database) as session:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with within(5), pytest.raises(error), session.transaction():
                session.execute("SELECT * FROM public.orders")
            assert waiting(live) == 0
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_backup_whose_server_stands_still_is_given_up_and_leaves_no_slot(
    live: PostgresServer, taking: Taking, patience: Patience
) -> None:
    patience(0.5)
    halted = stopped(live)
    go_on = threading.Event()

    def halt() -> None:
        if not go_on.is_set():
            go_on.set()
            halted.__enter__()

    try:
        with within(25), pytest.raises(UnreachableError):
            taking.take(meanwhile=halt)
    finally:
        halted.__exit__(None, None, None)
    assert ask(live, "postgres", "SELECT count(*) FROM pg_replication_slots") == "0"
    taking.take()


def test_a_checkpoint_that_does_not_get_on_is_given_up(
    live: PostgresServer, taking: Taking, patience: Patience
) -> None:
    patience(0.7)
    asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    checkpointer = int(ask(live, "postgres", asked))
    os.kill(checkpointer, signal.SIGSTOP)
    try:
        with within(9), pytest.raises(BackupError, match="it waits for IPC Checkpoint"):
            taking.take()
    finally:
        os.kill(checkpointer, signal.SIGCONT)
