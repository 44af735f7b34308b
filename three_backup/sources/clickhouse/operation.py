"""Finds, watches and ends a BACKUP or RESTORE at the server.

The server works on whether anybody waits or not. It remembers operations until it is restarted.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.client import Client, Row, Statement
from three_backup.sources.jobs import Advance

_AT_WORK = ("CREATING_BACKUP", "RESTORING")
_DONE = ("BACKUP_CREATED", "RESTORED")
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
_GRACE = 10.0
"""Seconds that the server gets to end an operation."""
# What system.backups says of S3 stays 0 until the end. Two of its counters go on before that:
# uncompressed_size in a BACKUP, bytes_read in a RESTORE. Only system.processes shows that requests
# are made at all.
_EVENTS = ("S3PutObject", "S3UploadPart", "S3CopyObject", "S3UploadPartCopy", "S3GetObject")
_OPERATIONS = (
    "SELECT {} AS told, b.id AS id, toString(b.status) AS status, b.error AS error, "
    "b.query_id AS query_id, b.num_files AS files, b.uncompressed_size AS written, "
    "b.bytes_read AS read, "
    f"{' + '.join(f'p.ProfileEvents[{sql.literal(event)}]' for event in _EVENTS)} AS requests, "
    "p.ProfileEvents['WriteBufferFromS3Bytes'] + p.ProfileEvents['ReadBufferFromS3Bytes'] AS sent "
    "FROM system.backups AS b LEFT JOIN "
    "(SELECT query_id, ProfileEvents FROM system.processes) AS p ON p.query_id = b.query_id "
)
_BY_ID = _OPERATIONS + "WHERE b.id = {}"
_THOSE_AT_WORK = (
    "(SELECT groupArray(id) FROM system.backups WHERE startsWith(id, {}) AND "
    f"toString(status) IN ({', '.join(map(sql.literal, _AT_WORK))}))"
)
NOTHING = "''"
_KILL = "KILL QUERY WHERE query_id = {} ASYNC"


class Watch(Protocol):
    """Asks the server something at each look at an operation."""

    @property
    def question(self) -> str:
        """An expression whose value is a text."""
        ...

    def hear(self, told: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Operation:
    """A BACKUP or RESTORE as the server lists it."""

    id: str
    status: str
    error: str  # what the server says of its failure
    query_id: str
    moved: int  # bytes written to S3 or read from it so far
    pulse: tuple[int, ...]  # differs from one look to the next if anything went on in between
    told: str  # what the server was asked beside it

    @property
    def at_work(self) -> bool:
        return self.status in _AT_WORK

    @property
    def done(self) -> bool:
        return self.status in _DONE


def find(client: Client, operation_id: str, beside: str = NOTHING) -> Operation | None:
    """Return an operation; None if it never began, or the server was restarted since.

    beside: an expression that is asked for as well, a text.
    """
    rows = client.ask(_BY_ID.format(beside, sql.literal(operation_id)))
    return _operation(rows[0]) if rows else None


def known(client: Client, about: str, operation_id: str, beside: str = NOTHING) -> Operation:
    """Return an operation that was begun just now. Raises BackupError if the server forgot it."""
    operation = find(client, operation_id, beside)
    if operation is None:
        raise _forgotten(about)
    return operation


def at_work(prefix: str) -> str:
    """Return an expression for the ids that begin with prefix, of operations that go on."""
    return _THOSE_AT_WORK.format(sql.literal(prefix))


def awaited(
    client: Client,
    about: str,
    operation: Operation,
    settings: Settings,
    advance: Advance,
    watch: Watch | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> Operation:
    """Return the operation when the server has finished it, with success or without.

    watch: hears what it asks the server at each look. pause: waits so many seconds, or less.
    Raises BackupError if the server forgot it, or did nothing for server_timeout and was told to
    end it.
    """
    pulse: tuple[int, ...] = ()
    moved, since = 0, time.monotonic()
    for wait in waits():
        advance(max(operation.moved - moved, 0))  # with 0 it is a heartbeat
        moved = max(operation.moved, moved)
        if watch is not None and operation.told:
            watch.hear(operation.told)
        if not operation.at_work:
            return operation
        if operation.pulse != pulse:
            pulse, since = operation.pulse, time.monotonic()
        elif time.monotonic() - since > settings.server_timeout.total_seconds():
            with suppress(BackupError):  # the clean-up afterwards tries again
                kill(client, operation)
            raise _stalled(about, settings)
        pause(wait)
        operation = known(client, about, operation.id, watch.question if watch else NOTHING)
    raise AssertionError("waiting has no end of its own")


def await_answer(
    client: Client,
    about: str,
    operation_id: str,
    statement: Statement,
    settings: Settings,
    advance: Advance,
) -> Operation | None:
    """Return when the server has finished the operation that a statement waits for.

    None: it succeeded, as the answer said at once. The client may also end before the operation
    does, or wait on after it: then the operation is returned as the server lists it. Raises as
    awaited() does, or what the statement failed with if no operation came of it.
    """

    def pause(_: float = 0) -> bool:
        return statement.pause(_LONGEST_WAIT)

    until = time.monotonic() + settings.server_timeout.total_seconds()
    while not pause():
        found = find(client, operation_id)
        if found is not None:
            return awaited(client, about, found, settings, advance, pause=pause)
        if time.monotonic() > until:
            raise _forgotten(about)
    try:
        if any(row.get("status") in _DONE for row in statement.rows()):
            return None
        found = known(client, about, operation_id)
    except BackupError:
        found = find(client, operation_id)
        if found is None:
            raise
    return awaited(client, about, found, settings, advance)


def kill(client: Client, operation: Operation) -> None:
    """Kill an operation and return when it has ended; it may have finished by then.

    Raises BackupError if the server does not end it in time, because it waits for S3, say.
    """
    if not operation.at_work:
        return
    client.ask(_KILL.format(sql.literal(operation.query_id)))
    deadline = time.monotonic() + _GRACE
    for wait in waits():
        left = find(client, operation.id)
        if left is None or not left.at_work:
            return
        if time.monotonic() > deadline:
            raise _unkillable(operation)
        time.sleep(wait)


def waits() -> Iterator[float]:
    """Yield how many seconds to wait between one look and the next, for ever."""
    wait = _FIRST_WAIT
    while True:
        yield wait
        wait = min(wait * 1.5, _LONGEST_WAIT)


def _operation(row: Row) -> Operation:
    pulse = tuple(int(row[name]) for name in ("files", "written", "read", "requests", "sent"))
    restoring = row["status"].startswith("RESTOR")
    moved = int(row["read" if restoring else "written"])
    return Operation(
        row["id"], row["status"], row["error"], row["query_id"], moved, pulse, row["told"]
    )


def _forgotten(about: str) -> BackupError:
    return BackupError(
        "clickhouse.restarted",
        f"{about}: the server was restarted in the middle",
        "the next run clears up and starts anew",
    )


def _unkillable(operation: Operation) -> BackupError:
    return BackupError(
        "clickhouse.at_work",
        f"operation {operation.id}: the server was told to end it and is still at it",
        "the next run tries again; see system.backups and system.processes",
    )


def _stalled(about: str, settings: Settings) -> BackupError:
    return BackupError(
        "clickhouse.stalled",
        f"{about}: the server moved nothing for {settings.server_timeout} and was stopped",
        "see whether it reaches s3_endpoint; server_timeout says how long it is given",
    )
