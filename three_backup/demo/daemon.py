"""Server processes of the demo: free ports, an account other than root, start and end.

A server is ready when start returns, and gone when end returns.
"""

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
    """The account that a program runs as; None: the account that runs us."""

    uid: int | None = None
    gid: int | None = None

    @property
    def groups(self) -> list[int] | None:
        """The groups beside gid: none for another account; None: those that we have."""
        return None if self.uid is None else []

    def own(self, path: Path) -> None:
        """Make the account the owner of path and of everything below it."""
        if self.uid is not None and self.gid is not None:
            for owned in (path, *path.rglob("*")):
                os.chown(owned, self.uid, self.gid, follow_symlinks=False)

    def run(self, argv: Sequence[str | Path], folder: Path, environ: Mapping[str, str]) -> None:
        """Run a program to its end.

        Raises PermissionError where the account may not run it, BackupError where it fails.
        """
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
            extra_groups=self.groups,
        )
        if result.returncode:
            raise BackupError(
                "demo.program",
                f"{argv[0]} ended with status {result.returncode}: {result.stderr.strip()}",
            )


class Daemon:
    """A server process in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, name: str, folder: Path, account: Account) -> None:
        self.name = name
        self._folder = folder
        self._log = folder / "log"
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 while the server is down."""
        return 0 if self._process is None else self._process.pid

    def start(
        self,
        argv: Sequence[str | Path],
        environ: Mapping[str, str],
        is_ready: Callable[[], bool],
        seconds: float = _START_SECONDS,
    ) -> None:
        """Start the server and return when it is ready.

        Raises BackupError with the end of its log if it is not ready after so many seconds.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                cwd=self._folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=self._account.groups,
            )
        deadline = time.monotonic() + seconds
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise BackupError("demo.server", f"{self.name} did not start: {self._tail()}")
            time.sleep(_POLL_SECONDS)

    def end(self, how: signal.Signals) -> None:
        """Signal the server and wait until it is gone; SIGKILL ends its children, too."""
        if self._process is None:
            return
        children = _children(self._process.pid) if how is signal.SIGKILL else []
        self._process.send_signal(how)
        self._process.wait()
        self._process = None
        for child in children:
            _kill(child)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-_LOG_TAIL:].strip()


def unprivileged_account() -> Account:
    """Return the account that PostgreSQL runs as: it refuses to run as root."""
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
    """Return free loopback ports below those that the kernel gives to outgoing connections."""
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
