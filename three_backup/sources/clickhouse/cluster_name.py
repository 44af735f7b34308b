"""The name of a server's cluster in the ids of its objects.

The name stays. If it were another one after a change of the server's configuration, new carriers
would begin and the old ones stay for ever. So it is remembered on this host, or configured.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from three_backup.config.settings import Settings
from three_backup.host.durable import write_durably

DEFAULT_CLUSTER = "default"
_FOLDER = "clickhouse"
_UUID = re.compile(r"[0-9a-f-]{36}")


def cluster_name(
    settings: Settings, server: str, found: Sequence[str], *, remember: bool = False
) -> str:
    """Return the name. server: its UUID. found: the clusters that it belongs to.

    remember: it is that of a carrier from now on.
    """
    if settings.clickhouse_cluster is not None:
        return settings.clickhouse_cluster
    path = settings.storage.local_dir / _FOLDER / f"cluster-{server}"
    remembered = _remembered(path) if _UUID.fullmatch(server) else None
    if remembered:
        return remembered
    name = found[0] if len(found) == 1 else DEFAULT_CLUSTER
    if not remember:
        return name
    with suppress(OSError):  # on a full disk: next time
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, name.encode("utf-8", "surrogateescape"))
    return name


def _remembered(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None
