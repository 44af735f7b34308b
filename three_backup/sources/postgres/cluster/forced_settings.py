"""Find the settings that the first start of a restored cluster needs and its files do not have.

Recovery refuses values below those that the old server ran with, and these may have stood on its
command line, as Patroni's do, or been lowered for its next start.
"""

from pathlib import Path

from three_backup.command import Program, run
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.settings import control_file, lines_of

_IN_CONTROL_FILE = {
    "max_connections": "max_connections setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_worker_processes": "max_worker_processes setting",
}
_COMMENT = "# Made by tb-restore: what the old server ran with, since recovery accepts no less.\n"


def forced_settings(binaries: Binaries, pgdata: Path, user: str | None) -> str:
    """Return lines for `postgresql.auto.conf`. user: may read pgdata; PostgreSQL refuses root."""
    control = control_file(binaries, pgdata, user)
    needed = {
        name: str(control[label])
        for name, label in _IN_CONTROL_FILE.items()
        if not _is_enough(binaries, pgdata, user, name, control[label])
    }
    return "".join((_COMMENT, *lines_of(needed))) if needed else ""


def _is_enough(binaries: Binaries, pgdata: Path, user: str | None, name: str, needed: int) -> bool:
    argv = [binaries["postgres"], "-C", name, "-D", str(pgdata)]
    try:
        return int(run(Program(argv, user=user))) >= needed
    except BackupError:  # a file that it includes may be missing: the operator will see to that
        return False
