"""A BACKUP or RESTORE that the server works on: found by its id, watched, ended.

The server works on whether anybody waits or not, and remembers what it did until it is restarted.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.sources.base import Advance
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.client import Client, Row

_AT_WORK = ("CREATING_BACKUP", "RESTORING")
_DONE = ("BACKUP_CREATED", "RESTORED")
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
_COLUMNS = (
    "id, status, error, query_id, num_files, bytes_read, "
    "ProfileEvents['WriteBufferFromS3Bytes'] AS written, "
    "ProfileEvents['ReadBufferFromS3Bytes'] AS read, "
    "ProfileEvents['S3CopyObject'] + ProfileEvents['S3UploadPartCopy'] AS copied"
)
_BY_ID = f"SELECT {_COLUMNS} FROM system.backups WHERE id = {{}}"
_BEGINNING = f"SELECT {_COLUMNS} FROM system.backups WHERE startsWith(id, {{}})"
_KILL = "KILL QUERY WHERE query_id = {} SYNC"


@dataclass(frozen=True, slots=True)
class Operation:
    """error: what the server says of its failure; moved: bytes to and from S3 so far; pulse:
    differs from one look to the next if anything went on in between."""

    id: str
    status: str
    error: str
    query_id: str
    bytes_read: int
    moved: int
    pulse: tuple[int, ...]

    @property
    def at_work(self) -> bool:
        return self.status in _AT_WORK

    @property
    def done(self) -> bool:
        return self.status in _DONE


def find(client: Client, id: str) -> Operation | None:
    """None where the server knows nothing of it: it never began, or the server was restarted."""
    rows = client.ask(_BY_ID.format(sql.literal(id)))
    return _operation(rows[0]) if rows else None


def beginning(client: Client, prefix: str) -> list[Operation]:
    """Those whose ids begin so."""
    return [_operation(row) for row in client.ask(_BEGINNING.format(sql.literal(prefix)))]


def awaited(
    client: Client, about: str, id: str, settings: Settings, advance: Advance
) -> Operation:
    """The operation when the server has finished with it, one way or the other.

    Raises BackupError where the server forgot it, or did nothing for clickhouse_timeout and was
    told to end it.
    """
    pulse: tuple[int, ...] = ()
    moved, since = 0, time.monotonic()
    for wait in _waits():
        operation = find(client, id)
        if operation is None:
            raise _forgotten(about)
        if operation.moved > moved:
            advance(operation.moved - moved)
            moved = operation.moved
        if not operation.at_work:
            return operation
        if operation.pulse != pulse:
            pulse, since = operation.pulse, time.monotonic()
        elif time.monotonic() - since > settings.clickhouse_timeout.total_seconds():
            kill(client, operation)
            raise _stalled(about, settings)
        time.sleep(wait)
    raise AssertionError("waiting has no end of its own")


def kill(client: Client, operation: Operation) -> None:
    """Returns when it has ended; it may have been finished by then."""
    if operation.at_work and operation.query_id:
        client.ask(_KILL.format(sql.literal(operation.query_id)))


def _waits() -> Iterator[float]:
    wait = _FIRST_WAIT
    while True:
        yield wait
        wait = min(wait * 1.5, _LONGEST_WAIT)


def _operation(row: Row) -> Operation:
    numbers = ("num_files", "bytes_read", "written", "read", "copied")
    files, bytes_read, written, read, copied = (int(row[name]) for name in numbers)
    return Operation(
        row["id"],
        row["status"],
        row["error"],
        row["query_id"],
        bytes_read,
        written + read,
        (files, bytes_read, written, read, copied),
    )


def _forgotten(about: str) -> BackupError:
    return BackupError(
        "clickhouse.restarted",
        f"{about}: the server was restarted in the middle",
        "the next run clears up and starts anew",
    )


def _stalled(about: str, settings: Settings) -> BackupError:
    return BackupError(
        "clickhouse.stalled",
        f"{about}: the server moved nothing for {settings.clickhouse_timeout} and was stopped",
        "see whether it reaches s3_endpoint; clickhouse_timeout says how long it is given",
    )
