"""Where the configuration and the state of this host lie unless somebody says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "THREE_BACKUP_CONFIG"
HEARTBEAT = "THREE_BACKUP_HEARTBEAT"
"""The variable that names the file whose modification time says that the run is alive."""

FOR_ALL = Path("/etc/three_backup.yaml")
_FOR_ONE = ".config/three_backup.yaml"
_STATE = "three_backup"


def configuration_file(environ: Mapping[str, str]) -> Path | None:
    """Return the configuration that the command line does not name; None if there is none."""
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE])
    home = environ.get("HOME")
    places = [Path(home, _FOR_ONE)] if home else []
    return next((place for place in (*places, FOR_ALL) if os.access(place, os.F_OK)), None)


def own_configuration(environ: Mapping[str, str], user: int) -> Path:
    """Return where this user's first configuration belongs. user: 0 is root."""
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE])
    return FOR_ALL if user == 0 else Path(environ.get("HOME", "/"), _FOR_ONE)


def state_folder(environ: Mapping[str, str], user: int) -> Path:
    """Return where snapshots lie unless the configuration says otherwise. user: 0 is root."""
    if user == 0:
        return Path("/var/lib", _STATE)
    home = Path(environ.get("HOME", "/"))
    return Path(environ.get("XDG_STATE_HOME") or home / ".local/state", _STATE)
