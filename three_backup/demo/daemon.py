"""What both servers of the demo need: free ports, an account that is not root, a process that is
up before it is used and gone when it was ended."""

import os
import pwd
import random
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from three_backup.errors import BackupError

LOOPBACK = "127.0.0.1"
_START_SECONDS = 60
_POLL_SECONDS = 0.02
_PORTS = range(10_000, 32_000)
_LOG_TAIL = 2_000


@dataclass(frozen=True, slots=True)
class Account:
    """Who a program runs as; None leaves it to the account that runs us."""

    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def spawn(
        self, argv: Sequence[str | Path], folder: Path, environ: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a server in a session of its own, so that Ctrl-C does not reach it."""
        with log.open("ab") as output:
            return subprocess.Popen(
                argv,
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=self.uid,
                group=self.gid,
                extra_groups=self._groups,
            )

    def run(self, argv: Sequence[str | Path], folder: Path, environ: Mapping[str, str]) -> None:
        """Run a program to its end; raises PermissionError where the account may not."""
        result = subprocess.run(
            argv,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            user=self.uid,
            group=self.gid,
            extra_groups=self._groups,
        )
        if result.returncode:
            raise BackupError(
                "demo.program",
                f"{argv[0]} ended with status {result.returncode}: {result.stderr.strip()}",
            )

    @property
    def _groups(self) -> list[int] | None:
        return None if self.uid is None else []


def unprivileged_account() -> Account:
    """The account that PostgreSQL runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return Account()
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise BackupError(
        "demo.account",
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody",
        "run this as an ordinary user",
    )


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address below those that the kernel gives to outgoing connections."""
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                break
            listener = held.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind((LOOPBACK, port))
                ports.append(port)
    return ports


def wait_until(
    ready: Callable[[], bool], server: subprocess.Popen[bytes], name: str, log: Path
) -> None:
    """Raises BackupError with the end of the log where the server ends or does not get ready."""
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-_LOG_TAIL:].strip()
            raise BackupError("demo.server", f"{name} did not start; its log ends with\n{tail}")
        time.sleep(_POLL_SECONDS)


def end(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signal the server and wait until it is gone, after SIGKILL its children too."""
    children = _children(server.pid) if how is signal.SIGKILL else []
    server.send_signal(how)
    server.wait()
    for child in children:
        _kill(child)


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
