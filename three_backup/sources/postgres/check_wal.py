"""Check that a server's WAL gets into S3, and that no slot of ours fills its disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.findings import Finding, bad, good, note
from three_backup.model.wal import Wal
from three_backup.screen.formats import age, counted, size
from three_backup.sources.postgres.wal.slot import slot_name

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_SLOT = """
SELECT slot_type = 'physical', active, coalesce(wal_status, 'lost'), safe_wal_size, inactive_since,
       coalesce(invalidation_reason, wal_status),
       pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()
                                       THEN pg_catalog.pg_last_wal_replay_lsn()
                                       ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)::int8
  FROM pg_catalog.pg_replication_slots WHERE slot_name = %s
"""
_LIMITS = """
SELECT (SELECT count(*) FROM pg_catalog.pg_replication_slots),
       current_setting('max_replication_slots')::int,
       (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size')
"""
_ARCHIVING = """
SELECT current_setting('archive_mode'), pg_catalog.pg_is_in_recovery(),
       current_setting('archive_library') <> '',
       current_setting('archive_command') LIKE '%tb-wal%',
       (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'archive_timeout'),
       last_archived_time, last_failed_time, last_failed_wal, failed_count
  FROM pg_catalog.pg_stat_archiver
"""
_FOR_EVER = -1
_BOUND = (
    "run ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(), with as much "
    "as the disk of pg_wal can spare"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """Our slot, as the server tells of it."""

    physical: bool
    active: bool
    wal_status: str  # reserved, extended, unreserved or lost
    safe: int | None  # bytes that may be written before it is given up; None: any number
    inactive_since: datetime | None
    why_lost: str | None
    behind: int | None  # bytes of WAL that the server keeps for it


@dataclass(frozen=True, slots=True)
class Archiving:
    """How the server archives."""

    mode: str  # off, on or always
    in_recovery: bool
    by_library: bool  # archive_library is set, so that archive_command does not count
    by_us: bool  # archive_command runs tb-wal
    timeout: int  # seconds after which a segment is ended though it is not full; 0: never
    archived: datetime | None  # when it last succeeded
    failed: datetime | None  # when it last failed
    failed_wal: str | None  # with which file
    failures: int


def check_wal(connection: "Connection", settings: Settings, now: datetime) -> Iterator[Finding]:
    name = slot_name(settings.storage)
    slot = _slot(connection, name)
    if settings.wal is Wal.PULL:
        ((slots, most, kept),) = connection.execute(_LIMITS).fetchall()
        yield _pulled(slot, name, settings.wal_max_age, now)
        if slot is None and slots >= most:
            yield bad("slot", _no_room(name, most))
        if kept == _FOR_EVER:
            yield note(
                "slot",
                "max_slot_wal_keep_size is -1: if nobody pulls, the slot keeps WAL until the disk "
                "of the server is full",
                _BOUND,
            )
        return
    if slot is not None:
        yield _left(slot, name, settings.wal)
    if settings.wal is Wal.PUSH:
        yield from pushed(Archiving(*connection.execute(_ARCHIVING).fetchall()[0]), now)


def _slot(connection: "Connection", name: str) -> Slot | None:
    found: list[Any] = connection.execute(_SLOT, [name]).fetchall()
    return Slot(*found[0]) if found else None


def _pulled(slot: Slot | None, name: str, max_age: timedelta, now: datetime) -> Finding:
    if slot is None:
        return note(
            "slot", f"there is no slot {name}, so that no WAL is kept yet", "run tb-wal pull"
        )
    if not slot.physical:
        return bad("slot", _not_ours(name))
    if slot.wal_status == "lost":
        return bad("slot", _lost(slot, name))
    held = f"it keeps {size(max(slot.behind or 0, 0))} of WAL at the server"
    if slot.wal_status == "unreserved" or (slot.safe is not None and slot.safe <= 0):
        return note(
            "slot",
            f"slot {name} is about to be given up, {held}: the next checkpoint may remove that",
            "run tb-wal pull now, and raise max_slot_wal_keep_size",
        )
    if slot.inactive_since is not None and now - slot.inactive_since > max_age:
        since = age(slot.inactive_since, now)
        return note(
            "slot", f"nobody has pulled from slot {name} for {since}, {held}", "run tb-wal pull"
        )
    safe = "" if slot.safe is None else f", and {size(max(slot.safe, 0))} more are safe"
    state = "in use" if slot.active else f"used {age(slot.inactive_since, now)} ago"
    return good("slot", f"slot {name} is {state}, {held}{safe}")


def pushed(archiving: Archiving, now: datetime) -> Iterator[Finding]:
    """Yield findings on a server that is to hand over its WAL."""
    why = _why_not_pushed(archiving)
    if why is not None:
        yield bad("archiving", why)
        return
    if archiving.failed and (archiving.archived is None or archiving.archived < archiving.failed):
        yield bad("archiving", _failing(archiving, now))
    else:
        ago = f"{age(archiving.archived, now)} ago" if archiving.archived else "not yet"
        yield good("archiving", f"the server archives by tb-wal, last {ago}")
    if archiving.timeout == 0:
        yield note(
            "archiving",
            "archive_timeout is 0: the last segment of a quiet server waits for ever",
            "run ALTER SYSTEM SET archive_timeout = '5min'; SELECT pg_reload_conf()",
        )


def _why_not_pushed(archiving: Archiving) -> BackupError | None:
    if archiving.mode == "off":
        return BackupError(
            "postgres.archive_mode",
            "archive_mode is off, so that the server archives nothing",
            "run ALTER SYSTEM SET archive_mode = on and restart the server",
        )
    if archiving.in_recovery and archiving.mode != "always":
        return BackupError(
            "postgres.archive_mode",
            "archive_mode is on, with which a standby archives nothing",
            "run ALTER SYSTEM SET archive_mode = always and restart the server, or set wal: pull",
        )
    if archiving.by_library:
        return BackupError(
            "postgres.archive_library",
            "archive_library is set, so that the server does not run archive_command",
            "run ALTER SYSTEM RESET archive_library; SELECT pg_reload_conf()",
        )
    if not archiving.by_us:
        return BackupError(
            "postgres.archive_command",
            "archive_command does not run tb-wal",
            "run ALTER SYSTEM SET archive_command = 'tb-wal push %p'; SELECT pg_reload_conf()",
        )
    return None


def _failing(archiving: Archiving, now: datetime) -> BackupError:
    return BackupError(
        "postgres.archiving_fails",
        f"archiving {archiving.failed_wal} failed {age(archiving.failed, now)} ago, "
        f"{counted(archiving.failures, 'failure')} in all; the server keeps its WAL until it "
        "succeeds",
        "see what tb-wal says in the log of the server",
    )


def _no_room(name: str, most: int) -> BackupError:
    return BackupError(
        "postgres.no_slot",
        f"all {most} replication slots are in use, so that there can be no slot {name}",
        "drop a slot that nobody uses, or raise max_replication_slots and restart the server",
    )


def _not_ours(name: str) -> BackupError:
    return BackupError(
        "postgres.slot",
        f"slot {name} is a logical one, of which tb-wal cannot pull",
        f"if nobody uses it, run {_dropping(name)}",
    )


def _lost(slot: Slot, name: str) -> BackupError:
    return BackupError(
        "postgres.slot_lost",
        f"slot {name} was given up by the server ({slot.why_lost}): some WAL was never pulled",
        "run tb-wal pull, which makes the slot anew, then tb-run; raise max_slot_wal_keep_size or "
        "pull more often",
    )


def _left(slot: Slot, name: str, wal: Wal) -> Finding:
    return note(
        "slot",
        f"wal is {wal}, but slot {name} still keeps {size(max(slot.behind or 0, 0))} of WAL at "
        "the server, and more with each change",
        f"if no other host pulls from it, run {_dropping(name)}",
    )


def _dropping(name: str) -> str:
    return f"SELECT pg_drop_replication_slot('{name}')"
