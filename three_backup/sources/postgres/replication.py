"""The replication protocol on one connection: who the server is, and what it streams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

    from three_backup.sources.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class Identity:
    """The answer to IDENTIFY_SYSTEM."""

    identifier: str
    timeline: int
    lsn: str  # up to it WAL is durable; at a standby, received or replayed


def identify(connection: "Connection") -> Identity:
    (row,) = connection.execute("IDENTIFY_SYSTEM")
    return Identity(str(row[0]), int(row[1]), str(row[2]))


def history_of(connection: "Connection", timeline: int) -> bytes:
    """Return the server's history file of a timeline after the first."""
    result = connection.execute(f"TIMELINE_HISTORY {timeline}".encode()).pgresult
    return (result and result.get_value(0, 1)) or b""


class Stream:
    """The answer of a server to one command, waited for as long as it shows signs of life."""

    def __init__(
        self, session: "Connection", command: bytes, idle: Callable[[], None] = lambda: None
    ) -> None:
        """idle: called when nothing came for a while; the connection is still open."""
        self.connection: PGconn = session.pgconn
        self._session, self._silence, self._idle = session, session.silence(), idle
        self.connection.send_query(command)

    def messages(self) -> Iterator[memoryview]:
        """Yield the messages of a COPY to its end. They stay valid."""
        is_idle = False
        # Asynchronous: else libpq waits for the network while it holds the interpreter's lock.
        while True:
            size, message = self.connection.get_copy_data(1)
            if size > 0:
                self._silence.begin()
                yield message
            elif size < 0:
                return
            elif is_idle:
                self._wait()
            else:
                self.connection.consume_input()  # mostly more is there: this saves a select()
            is_idle = size == 0 and not is_idle

    def result(self) -> "PGresult":
        """Return the next result; raise OperationalError if there is none."""
        import psycopg

        result = self.next_result()
        if result is None:
            raise psycopg.OperationalError("the server closed the connection")
        return result

    def next_result(self) -> "PGresult | None":
        """Return the next result, None at the end. Signals can interrupt the wait."""
        import psycopg
        from psycopg.pq import ExecStatus

        while self.connection.is_busy():
            self._wait()
        result = self.connection.get_result()
        if result is not None and result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)
        return result

    def _wait(self) -> None:
        """Wait a moment for more; without any, as in a checkpoint, show that the run lives."""
        if self._session.await_bytes(self._silence):
            self.connection.consume_input()
        else:
            self._idle()
