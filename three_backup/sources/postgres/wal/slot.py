"""The permanent replication slot that keeps WAL at the server until tb-wal pull has stored it."""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.errors import BackupError, BusyError
from three_backup.host.signals import pause
from three_backup.model.storage import Storage
from three_backup.sources.postgres.wal.names import position

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_LONGEST_PREFIX = 36  # with what is before and after it, the name has at most 63 characters
_SLOT = """
SELECT slot_type, active, restart_lsn::text, coalesce(wal_status, 'lost') = 'lost',
       coalesce(invalidation_reason, 'the server dropped WAL that it kept')
  FROM pg_catalog.pg_replication_slots WHERE slot_name = %s
"""
_MOMENT = 0.2
_MOMENTS = 50
"""How often a slot is looked at that is in use: a server needs a while to miss who was killed."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the server shows it."""

    physical: bool
    active: bool  # somebody streams from it
    restart: int | None  # position; the server keeps what follows
    lost: bool  # the server has dropped WAL that was not fetched
    reason: str  # why it is lost


def slot_name(storage: Storage) -> str:
    """Return the name of the slot. Hosts that archive one cluster have one each.

    It tells the prefix to a person; the hash, of where the archive lies, tells it from any other.
    """
    prefix = re.sub("[^a-z0-9]+", "_", storage.prefix.lower()).strip("_")[:_LONGEST_PREFIX]
    place = hashlib.sha256(f"{storage.bucket}/{storage.prefix}".encode()).hexdigest()[:8]
    return "_".join(filter(None, ("three_backup", prefix, place)))


def read_slot(connection: "Connection", name: str) -> Slot | None:
    """Return the slot; None if there is none."""
    row = connection.execute(_SLOT, (name,)).fetchone()
    if row is None:
        return None
    kind, active, restart, lost, reason = row
    return Slot(kind == "physical", active, restart and position(restart), lost, reason)


def free_slot(connection: "Connection", name: str) -> Slot | None:
    """Return the slot once nobody streams from it. Raises BusyError, BackupError."""
    slot = read_slot(connection, name)
    for _ in range(_MOMENTS):
        if slot is None or not slot.active:
            break
        pause(_MOMENT)
        slot = read_slot(connection, name)
    if slot is not None and slot.active:
        raise BusyError(
            "postgres.slot_active",
            f"PostgreSQL: somebody streams from replication slot {name}",
            "wait for its end; pg_stat_replication names who it is",
        )
    if slot is not None and not slot.physical:
        raise BackupError(
            "postgres.slot_foreign",
            f"PostgreSQL: replication slot {name} is not physical",
            f"drop it if nobody needs it: SELECT pg_drop_replication_slot('{name}')",
        )
    return slot


def create_slot(replication: "Connection", name: str) -> int:
    """Make the slot; return the position from which on the server keeps WAL."""
    replication.execute(f"CREATE_REPLICATION_SLOT {name} PHYSICAL (RESERVE_WAL)".encode())
    (row,) = replication.execute(f"READ_REPLICATION_SLOT {name}".encode())
    return position(row[1])


def drop_slot(replication: "Connection", name: str) -> None:
    replication.execute(f"DROP_REPLICATION_SLOT {name}".encode())
