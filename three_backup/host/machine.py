"""The id that distinguishes this host from any other."""

from contextlib import suppress
from pathlib import Path

_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def machine_id() -> str | None:
    """Return the id of this host; None if it has none, as in some containers."""
    for path in _MACHINE_IDS:
        with suppress(OSError):
            if machine := path.read_text().strip():
                return machine
    return None
