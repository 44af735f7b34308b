"""The two daemons that this source speaks to, LXD and Incus, as values: all that tells them apart.

Incus began as a fork of LXD: its API, its datasets and most words of its client are the same.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Daemon:
    """One of the daemons."""

    type: str  # of its objects; the codes of errors begin with it
    name: str  # for people
    # Its client; full paths too, since cron's PATH has neither /snap/bin nor /usr/sbin.
    programs: tuple[str, ...]
    package: str  # of the client
    sockets: tuple[Path, ...]
    group: str  # whose members may speak to it
    starting: str  # the command that starts it
    restoring: str  # what goes back to a point

    @property
    def client(self) -> str:
        """The name of its client, as hints have it."""
        return self.programs[0]

    @property
    def content_type(self) -> str:
        """The property by which it knows what a zvol holds."""
        return f"{self.type}:content_type"


LXD = Daemon(
    type="lxd",
    name="LXD",
    programs=("lxc", "/snap/bin/lxc"),
    package="LXD",
    sockets=(
        Path("/var/snap/lxd/common/lxd/unix.socket"),
        Path("/var/lib/lxd/unix.socket"),
    ),
    group="lxd",
    starting="systemctl start lxd, or snap start lxd",
    restoring="lxc restore",
)
INCUS = Daemon(
    type="incus",
    name="Incus",
    programs=("incus", "/opt/incus/bin/incus"),
    package="incus-client",
    sockets=(Path("/run/incus/unix.socket"), Path("/var/lib/incus/unix.socket")),
    group="incus-admin",
    starting="systemctl start incus",
    restoring="incus snapshot restore",
)
DAEMONS = {daemon.type: daemon for daemon in (LXD, INCUS)}
