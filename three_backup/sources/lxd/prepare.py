"""Find the daemon of this host."""

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.findings import Finding, Mark, bad, good
from three_backup.sources.lxd.daemon.client import Client
from three_backup.sources.preparing import Preparation


def prepare(client: Client) -> Preparation:
    about = client.daemon.type
    try:
        server = client.server()
    except UnreachableError as error:
        found = Finding(Mark.NOTE, about, f"no {client.daemon.name} answers", error.hint)
        return Preparation(found, answers=False)
    except BackupError as error:
        return Preparation(bad(about, error))
    return Preparation(good(about, f"{server} answers"))
