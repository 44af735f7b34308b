"""Choose the settings of a scratch server.

It uses nothing of the source's configuration: no preload libraries, no workers, no archiving, no
network, no event triggers. But the files of a cluster force some settings on any server that
opens them.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from three_backup.command import Program, run
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.session import PORT

# hot_standby stays on: if it is off, pg_ctl reports a server as ready that still recovers.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_preload_libraries": "",
    "ignore_invalid_pages": "on",
    "allow_in_place_tablespaces": "on",
    "event_triggers": "off",
    "autovacuum": "off",
    "archive_mode": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "summarize_wal": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "lc_messages": "C",
    "timezone": "UTC",
    "jit": "off",
}
# Recovery is that after a crash, which needs neither the connections nor the workers of the
# source, and so not their memory. pg_dump locks all tables of a database at once; a partition tree
# is moved in one transaction.
_LOCKS = range(1024, 16384)
_MEGABYTE = 1 << 20
_LEAST_MAX_WAL = 1024
"""Megabytes: PostgreSQL's default."""
_MOST_ORIGINS = 65535
"""How many origins of logical replication there can be. Each that WAL or files name needs room."""
_OWN_ORIGINS = 18
"""Since this version, a setting of their own says how many; before, that of slots did."""


def scratch_settings(binaries: Binaries, pgdata: Path, user: str | None) -> Mapping[str, str]:
    """Return the settings of a server on pgdata, without places. user: it runs as this user."""
    control = control_file(binaries, pgdata, user)
    locks = max(_LOCKS.start, min(_LOCKS.stop, control["max_locks_per_xact setting"]))
    least_wal = 2 * control["Bytes per WAL segment"] // _MEGABYTE
    origins = "max_active_replication_origins"
    return {
        **_SETTINGS,
        "max_locks_per_transaction": str(locks),
        "max_prepared_transactions": str(control["max_prepared_xacts setting"]),
        "min_wal_size": f"{least_wal}MB",
        "max_wal_size": f"{max(_LEAST_MAX_WAL, least_wal)}MB",
        origins if binaries.major >= _OWN_ORIGINS else "max_replication_slots": str(_MOST_ORIGINS),
    }


def control_file(binaries: Binaries, pgdata: Path, user: str | None) -> dict[str, int]:
    """Return the numbers in pg_control, by the names that pg_controldata gives them."""
    argv = [binaries["pg_controldata"], str(pgdata)]
    said = run(Program(argv, user=user, code="postgres.control_file"))
    found = re.findall(r"^(\w[^:\n]*): +(\d+)$", said, re.MULTILINE)
    return {name: int(number) for name, number in found}


def lines_of(settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a configuration file."""
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        yield f"{name} = '{quoted}'\n"
