"""A bootstrap superuser that may not log in, by which servers are hardened: here it must."""

from collections.abc import Sequence
from contextlib import suppress

from three_backup.command import Program, run
from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.folder import stop_server
from three_backup.sources.postgres.scratch.server import ScratchServer, start
from three_backup.sources.postgres.scratch.session import NO_LOGIN

# The role that initdb made has this number under any name. Nothing else of it is in the way: no
# password is asked for, so that VALID UNTIL says nothing, and a superuser has no connection limit.
_ALLOW = "UPDATE pg_authid SET rolcanlogin = true WHERE oid = 10\n"


def let_superuser_in(server: ScratchServer, user: str | None, databases: Sequence[str]) -> None:
    """Only a server for one, without logins, can do that. databases: any of them has to be there;
    user: who the server runs as."""
    if not _is_kept_out(server, databases[0]):
        return
    stop_server(server.pgdata)
    for database in databases:
        argv = [server.binaries["postgres"], "--single", "-D", str(server.pgdata), database]
        with suppress(BackupError):
            run(Program(argv, user=user), _ALLOW)
            break
    start(server, user)


def _is_kept_out(server: ScratchServer, database: str) -> bool:
    try:
        with server.connect(database):
            return False
    except BackupError as error:
        return error.code == NO_LOGIN
