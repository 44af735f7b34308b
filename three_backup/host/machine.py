"""The id that distinguishes this host from any other."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(frozen=True, slots=True)
class Host:
    """A machine. Its name may change, its id does not; copies of a machine share the id."""

    id: str
    name: str = ""  # empty: not known


def this_host() -> Host:
    return Host(host_id(), os.uname().nodename)


def host_id() -> str:
    """Return the id that tells this host from any other that might write to the same prefix.

    Some containers have none: their name stands for it.
    """
    return _machine_id() or os.uname().nodename


def _machine_id() -> str | None:
    for path in _MACHINE_IDS:
        with suppress(OSError):
            if machine := path.read_text().strip():
                return machine
    return None
