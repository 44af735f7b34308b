"""The moment from which on a snapshot can be led by WAL to any later one."""

from dataclasses import dataclass
from datetime import UTC, datetime

from three_backup.sources.postgres.connection import connect

_END = "SELECT clock_timestamp(), pg_snapshot_xmax(pg_current_snapshot())::text::int8"


@dataclass(frozen=True, slots=True)
class End:
    """The server as it was just after a backup."""

    at: datetime  # by its clock
    next_xid: int  # the transaction id that it gives next, 64 bits wide


def read_end() -> End:
    with connect() as connection:
        ((at, next_xid),) = connection.execute(_END)
    return End(at.astimezone(UTC), next_xid)
