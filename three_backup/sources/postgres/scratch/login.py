"""Let the bootstrap superuser log in to a scratch server.

Some servers are hardened by NOLOGIN for this role, but a restore needs its login.
"""

from collections.abc import Sequence
from contextlib import suppress

from three_backup.command import Program, run
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.folder import stop_server
from three_backup.sources.postgres.scratch.locales import stand_in
from three_backup.sources.postgres.scratch.server import ScratchServer, start
from three_backup.sources.postgres.scratch.session import NO_LOGIN

# The role that initdb made has oid 10 under any name. Nothing else keeps it out: no password is
# asked for, so VALID UNTIL does not matter, and a superuser has no connection limit.
_ALLOW = "UPDATE pg_authid SET rolcanlogin = true WHERE oid = 10\n"
_TERSE = ("-c", "log_min_messages=fatal")


def let_superuser_in(server: ScratchServer, user: str | None, databases: Sequence[str]) -> None:
    """Allow the superuser to log in if it may not, and restart the server.

    Only a server in single-user mode, which has no logins, can change that. user: the server
    runs as this user. databases: at least one of them has to exist.
    """
    if not _is_kept_out(server, databases[0]):
        return
    stop_server(server.pgdata)
    for database in databases:
        with suppress(BackupError):
            _allow(server, user, database)
            break
    start(server, user)


def _allow(server: ScratchServer, user: str | None, database: str) -> None:
    argv = [server.binaries["postgres"], "--single", "-D", str(server.pgdata), *_TERSE, database]
    try:
        run(Program(argv, server.environment, user=user), _ALLOW)
    except BackupError as error:
        if not stand_in(server, user, error):
            raise
        _allow(server, user, database)


def _is_kept_out(server: ScratchServer, database: str) -> bool:
    try:
        with server.connect(database):
            return False
    except BackupError as error:
        return error.code == NO_LOGIN
