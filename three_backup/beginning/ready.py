"""Gives a server what it lacks for backups, by its administrator, and tries them."""

from three_backup.beginning import servers
from three_backup.beginning.servers import Server
from three_backup.beginning.telling import telling
from three_backup.errors import BackupError
from three_backup.pipe import Invocation
from three_backup.pipe.asking import agree, ask, can_ask

_TRIES = 3
_SKIP = "s"


def made_ready(invocation: Invocation, server: Server, *, acts: bool) -> bool:
    """Show what a server lacks, and try it; return whether backups of it work.

    acts: what it lacks is given to it without asking, where we may.
    """
    if server.preparation.statements:
        invocation.write(f"\nto be run by an administrator of {server.type}:\n\n")
        invocation.write(servers.statements(server))
        if not _acted(invocation, server, acts=acts) and not _is_mended(default=True):
            return False
    for left in reversed(range(_TRIES)):
        if _works(invocation, server):
            return True
        if not left or not _is_mended(default=False):
            break
    return False


def _is_mended(*, default: bool) -> bool:
    """Wait until a person has mended it; return whether it was. default: if nobody is there."""
    if not can_ask():
        return default
    return ask("\nEnter when that is done, s to go on without it") != _SKIP


def _acted(invocation: Invocation, server: Server, *, acts: bool) -> bool:
    """Have the statements run where somebody wants that and we may; return whether they were."""
    act = server.preparation.act
    if act is None or not (acts or (can_ask() and agree("\nrun it now?", default=True))):
        return False
    try:
        act()
    except BackupError as error:
        invocation.say(str(error))
        return False
    return True


def _works(invocation: Invocation, server: Server) -> bool:
    with telling(invocation, server.type) as shown:
        servers.check(invocation, server.source, shown.tell)
    return shown.worst is None
