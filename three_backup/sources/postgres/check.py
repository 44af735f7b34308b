"""Check that a PostgreSQL server can be backed up, and its tables restored on this host."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.findings import Finding, Mark, bad, good, note, tried
from three_backup.screen.formats import counted, duration
from three_backup.screen.formats import size as formatted
from three_backup.sources.jobs import CheckJob, Room
from three_backup.sources.postgres.check_here import (
    check_blocks,
    lacking_here,
    tablespaces_inside,
)
from three_backup.sources.postgres.check_wal import check_wal
from three_backup.sources.postgres.connection import (
    as_stored,
    connect,
    connect_replication,
    quoted,
)
from three_backup.sources.postgres.odd_names import odd_names
from three_backup.sources.postgres.preflight import (
    SUMMARIZE,
    Cluster,
    check_backup,
    read_cluster,
)
from three_backup.sources.postgres.relations import TYPE, Database, databases
from three_backup.sources.postgres.scratch.binaries import find_binaries
from three_backup.sources.postgres.scratch.server import scratch_user
from three_backup.sources.postgres.taking.read_configuration import sees_all_settings, unread_files

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_ROLE = """
SELECT current_user::text, (SELECT setting::int FROM pg_catalog.pg_settings
                             WHERE name = 'wal_summary_keep_time')
"""
_SIZE = """
SELECT coalesce(sum(pg_catalog.pg_database_size(oid)), 0)::int8 FROM pg_catalog.pg_database
 WHERE pg_catalog.has_database_privilege(oid, 'CONNECT')
"""


def check(job: CheckJob) -> Iterator[Finding]:
    with connect() as connection:
        cluster = read_cluster(connection)
        with as_stored(connection):
            ((role, minutes),) = connection.execute(_ROLE).fetchall()
        ((size,),) = connection.execute(_SIZE)
        found = databases(connection)
        configuration = _configuration(connection, quoted(role))
        inside = list(tablespaces_inside(connection))
        wal = list(check_wal(connection, job.source_settings, job.now))
    yield good(TYPE, f"{cluster.server} answers, to role {role}")
    yield tried("backups", partial(_backups, cluster))
    yield tried("replication", _replication)
    yield _increments(cluster, timedelta(minutes=minutes), job.source_settings, job.now)
    yield configuration
    yield from inside
    yield from wal
    if job.room is not None:
        yield _room(job.room, size)
    entered = [database for database in found if not database.closed]
    yield from _databases(entered)
    yield from odd_names(entered)
    yield tried("restores", partial(_restores, cluster, job.source_settings))
    with suppress(BackupError):  # told above
        binaries = find_binaries(cluster.major, job.source_settings.pg_bindir, os.environ)
        yield from lacking_here([database.name for database in entered], binaries)


def _backups(cluster: Cluster) -> str:
    check_backup(cluster)
    return f"wal_level is {cluster.wal_level}, max_wal_senders {cluster.max_wal_senders}"


def _replication() -> str:
    with connect_replication():
        return "the role may replicate, and pg_hba.conf lets it in"


def _increments(cluster: Cluster, kept: timedelta, settings: Settings, now: datetime) -> Finding:
    """Check that incrementals can be made. kept: how long WAL summaries are; zero is for ever."""
    subject = "increments"
    if not cluster.summarize_wal:
        return note(
            subject, "summarize_wal is off, so that every backup is a base", f"run {SUMMARIZE}"
        )
    apart = _apart(settings, now)
    if kept and kept < apart:
        return note(
            subject,
            f"WAL summaries are kept for {duration(kept.total_seconds())}, but "
            f"{duration(apart.total_seconds())} lie between two snapshots: some will be bases",
            "run ALTER SYSTEM SET wal_summary_keep_time = "
            f"'{2 * apart // timedelta(days=1) + 1}d'; SELECT pg_reload_conf()",
        )
    return good(subject, "summarize_wal is on, and summaries are kept long enough")


def _apart(settings: Settings, now: datetime) -> timedelta:
    """Return the time between two snapshots by the schedule that fires more often at present."""
    schedules = (settings.base_schedule, settings.incremental_schedule)
    return min(
        schedule.next_firing(now, UTC) - schedule.last_firing(now, UTC) for schedule in schedules
    )


def _configuration(connection: "Connection", role: str) -> Finding:
    """Check that a snapshot gets the configuration that restoring a whole cluster needs."""
    subject = "configuration"
    if not sees_all_settings(connection):
        return note(
            subject,
            f"role {role} does not see all settings (shared_preload_libraries, hba_file ...): a "
            "whole cluster would come back without them",
            f"run GRANT pg_read_all_settings TO {role}, then tb-check again",
        )
    unread = unread_files(connection)
    if unread:
        return note(
            subject,
            f"role {role} may not read {', '.join(unread)}: a whole cluster would come back with "
            "a minimal one",
            f"run GRANT pg_read_server_files TO {role}; GRANT EXECUTE ON FUNCTION "
            f"pg_catalog.pg_read_binary_file(text) TO {role}, in the database that PGDATABASE "
            "names; or be root on the host of the server, with its socket in PGHOST",
        )
    return good(subject, "settings and files are read, a whole cluster comes back with them")


def _room(room: Room, size: int) -> Finding:
    """Compare what is free with what a base will take. size: of all databases, uncompressed."""
    subject, free = "room", f"{room.folder} has {formatted(room.free)} free"
    if room.last_base is None:
        takes, needed = f"a base takes at most {formatted(size)}, mostly a fifth of that", size
    else:
        takes, needed = f"the last base took {formatted(room.last_base)}", room.last_base
    if room.free < needed:
        return note(subject, f"{free}, but {takes}", "make room there, or set local_dir")
    return good(subject, f"{free}, and {takes}")


def _databases(found: Sequence[Database]) -> Iterator[Finding]:
    refused = [database.refusal for database in found if database.refusal is not None]
    yield from (bad("databases", refusal) for refusal in refused)
    entered = [
        tried("databases", partial(_enter, database))
        for database in found
        if database.refusal is None
    ]
    failures = [finding for finding in entered if finding.mark is Mark.BAD]
    yield from failures
    if not refused and not failures:
        yield good("databases", f"{counted(len(found), 'database')} can be read")


def _enter(database: Database) -> str:
    with connect(database.name):
        return database.name


def _restores(cluster: Cluster, settings: Settings) -> str:
    binaries = find_binaries(cluster.major, settings.pg_bindir, os.environ)
    user = scratch_user(settings.scratch_user)
    check_blocks(binaries, user, cluster.block_size)
    return f"the programs of {binaries.folder} run as {user or 'this user'}"
