"""Waits for PostgreSQL for as long as it shows signs of life, and no longer.

Bytes are signs of life. Where none come, as in CREATE INDEX, the server is asked by a session
beside: a statement that computes, gets on, or waits for something else than before is alive. One
that waits for a lock is not, nor is one whose server does not answer.
"""

import logging
import select
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from three_backup.errors import BackupError, SilentError, UnreachableError
from three_backup.host.patience import Pulse, Silence
from three_backup.host.signals import StoppedError
from three_backup.model.objects import AS_BYTES

SOURCE = "postgres"
BESIDE = 5.0
"""Seconds in which a session beside must be open, and answer."""

_PULSE = """
SELECT a.backend_type <> 'walsender' AND EXISTS (
         SELECT FROM pg_catalog.pg_stat_activity AS w
          WHERE a.pid IN (w.pid, w.leader_pid) AND w.state = 'active' AND w.wait_event IS NULL),
       concat_ws(' ', a.wait_event_type, a.wait_event),
       ARRAY(SELECT p::text
               FROM unnest(ARRAY['COPY', 'CREATE INDEX', 'CLUSTER', 'VACUUM', 'BASEBACKUP'])
                    AS command, pg_catalog.pg_stat_get_progress_info(command) AS p
              WHERE p.pid = a.pid)::text,
       ARRAY(SELECT concat_ws(' ', w.pid, w.wait_event)
               FROM pg_catalog.pg_stat_activity AS w
              WHERE w.leader_pid = a.pid
                 OR a.wait_event LIKE 'Checkpoint%%' AND w.backend_type = 'checkpointer')::text
  FROM pg_catalog.pg_stat_activity AS a WHERE a.pid = %s
"""
_EVENTS = {
    Wait.R: select.POLLIN,
    Wait.W: select.POLLOUT,
    Wait.RW: select.POLLIN | select.POLLOUT,
}
_NO_PATH = b"SET search_path = ''"
"""So no function of a user is taken for one of PostgreSQL's own."""

_END = "SELECT pg_catalog.pg_terminate_backend(%s)"

_Value = TypeVar("_Value")

# Whatever it warns of is an error of ours as well.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose every wait ends: with a result, an error, or a signal.

    After a silence too long, and after a signal, it is closed; the statement that the server was
    at is ended, too, where the server still hears.
    """

    given: Mapping[str, str] = {}  # the parameters of libpq that it was opened with
    is_beside = False  # it asks about another session, and nobody asks about it
    _gave_up: BaseException | None = None

    @abstractmethod
    def beside(self) -> "PatientConnection":
        """Open another session with the same server."""

    def silence(self) -> Silence:
        """Return a new wait for what this session does."""
        what = f"PostgreSQL, database {self.pgconn.db.decode(*AS_BYTES)}"
        if self.is_beside:
            return Silence(what, SOURCE, "beside", at_most=BESIDE)
        return Silence(what, SOURCE, "server", self._pulse)

    def wait(
        self, gen: PQGen[_Value], interval: float = 0.0, timeout: float | None = None
    ) -> _Value:
        """Do as psycopg does, which may wait for ever. Raises SilentError, UnreachableError."""
        if self._gave_up is not None:
            gen.close()
            raise self._gave_up
        try:
            wanted = next(gen)
            silence = self.silence()
            with self._given_up(silence):
                while True:
                    while not (ready := self._look(silence, wanted)):
                        pass
                    wanted = gen.send(ready)
        except StopIteration as end:
            value: _Value = end.value
            return value

    def await_bytes(self, silence: Silence) -> bool:
        """Look for bytes of the server for a moment; return whether there are any.

        Raises as wait() does.
        """
        with self._given_up(silence):
            return bool(self._look(silence, Wait.R))

    @contextmanager
    def _given_up(self, silence: Silence) -> Iterator[None]:
        """Close the connection after a silence or a signal; whoever uses it later hears why."""
        try:
            yield
        except SilentError as error:
            self._gave_up = failure = _failure(error, silence)
            self._end()
            raise failure from error
        except (KeyboardInterrupt, StoppedError) as error:
            self._gave_up = error
            self._end()
            raise

    def _end(self) -> None:
        """End what the server is at, and close.

        It would not hear that the connection is gone while it waits for a lock, and change
        something much later.
        """
        if self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            self._ask_beside(_END)
        self.close()

    def _look(self, silence: Silence, wanted: Wait) -> Ready | None:
        poll = select.poll()
        poll.register(self.pgconn.socket, _EVENTS[wanted])
        event = next((event for _, event in poll.poll(silence.check() * 1000)), 0)
        if not event:
            return None
        silence.broken()
        if not event & ~select.POLLOUT:
            return Ready.W
        return Ready.RW if event & select.POLLOUT else Ready.R

    def _pulse(self) -> Pulse | None:
        found = self._ask_beside(_PULSE)
        if found is None:
            return None
        computes, waits_for, *progress = found
        life = object() if computes else (waits_for, *progress)
        return Pulse(life, f"it waits for {waits_for}" if waits_for else "")

    def _ask_beside(self, question: str) -> tuple[Any, ...] | None:
        """Return a row about this session; None if nobody answers."""
        if self.is_beside:
            return None
        try:
            with closing(self.beside()) as beside:
                beside.execute(_NO_PATH)
                return beside.execute(question.encode(), (self.info.backend_pid,)).fetchone()
        except (psycopg.Error, BackupError):
            return None


def _failure(error: SilentError, silence: Silence) -> BackupError:
    if silence.answers:
        return error
    return UnreachableError(
        "postgres.unreachable",
        f"PostgreSQL does not answer: {error.message}",
        "check that the server runs; server_timeout says how long it is given",
    )
