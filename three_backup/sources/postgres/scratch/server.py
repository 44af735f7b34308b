"""Run the scratch server: a private server on a laid-out data directory, for one restore.

Relations that were not laid out are missing on purpose, so recovery ignores invalid pages, and
they are checked afterwards.
"""

import os
import pwd
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from three_backup.command import Program, growth, own_work, run
from three_backup.errors import BackupError, SilentError
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.folder import (
    PGDATA,
    acting_as,
    scratch_folder,
    stop_server,
)
from three_backup.sources.postgres.scratch.session import (
    PORT,
    scratch_session,
    session_environment,
)
from three_backup.sources.postgres.scratch.settings import lines_of, scratch_settings
from three_backup.sources.postgres.scratch.wal import check_tablespaces

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

READER = "three_backup_reader"
"""The role that may log in beside the superuser, where somebody looks at rows."""

_SOCKET_NAME = f".s.PGSQL.{PORT}"
_LONGEST_SOCKET_PATH = 107
_SHORT = Path("/tmp")  # noqa: S108  the folder made there is private
_DEFAULT_USERS = ("postgres", "nobody")
_LOG = "server.log"
_LOG_END = 64 << 10
_QUOTED_LINES = 3
_INVALID_PAGE = re.compile(
    rb"page \d+ of relation ((?:base|pg_tblspc)/[\w/]*?\d+|global/\d+)(?:_\w+)? "
    rb"(?:does not exist|is uninitialized)"
)
_BUILT_OTHERWISE = re.compile(
    r"cluster was initialized with (\w+ \d+), but the server was compiled"
)


@dataclass(frozen=True, slots=True)
class ScratchServer:
    """A running scratch server."""

    binaries: Binaries
    superuser: str  # the name of the source's bootstrap superuser
    socket_folder: Path
    log: Path
    users: tuple[str, ...]  # of this host: the first may log in as the superuser, all to read

    @property
    def pgdata(self) -> Path:
        return self.log.with_name(PGDATA)

    @property
    def masker(self) -> str:
        """The role that may be made to run an administrator's SQL, of a name that nobody has."""
        return f"three_backup_{self.log.parent.name.rpartition('-')[2]}"

    @property
    def locales(self) -> Path:
        """Return where stand-ins lie for locales that this host lacks, once there are any."""
        return self.log.with_name("locales")

    @property
    def stand_ins(self) -> set[str]:
        return {path.name for path in self.locales.iterdir()} if self.locales.exists() else set()

    @property
    def environment(self) -> Mapping[str, str]:
        return {"LOCPATH": str(self.locales)} if self.stand_ins else {}

    def connect(self, database: str) -> AbstractContextManager["Connection"]:
        """Open a session in which every statement is its own transaction."""
        return scratch_session(self.socket_folder, self.superuser, database)

    def program(self, name: str, *arguments: str, database: str) -> Program:
        """Return a client program of the server's version that connects to this database."""
        environment = session_environment(self.socket_folder, self.superuser, database)
        argv = [self.binaries[name], *arguments]
        return Program(argv, environment, source="postgres", life=own_work)

    @contextmanager
    def end(self) -> Iterator[int]:
        """Yield a descriptor that can be read from once the server has ended."""
        pid = int((self.pgdata / "postmaster.pid").read_text().partition("\n")[0])
        handle = os.pidfd_open(pid)
        try:
            yield handle
        finally:
            os.close(handle)

    def invalid_pages(self) -> set[str]:
        """Return the relations in which recovery missed pages, as `base/5/16391`."""
        with self.log.open("rb") as lines:
            found = (_INVALID_PAGE.search(line) for line in lines)
            return {match[1].decode() for match in found if match is not None}


def scratch_user(configured: str | None) -> str | None:
    """Return the user that the server runs as; None means the current user.

    Only root needs another user, because PostgreSQL refuses to run as root. Raises BackupError
    if there is no such user.
    """
    if os.geteuid() != 0:
        return None
    for name in [configured] if configured else _DEFAULT_USERS:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise BackupError(
        "postgres.scratch_user",
        f"postgres: there is no user {configured or ' or '.join(_DEFAULT_USERS)} that the "
        "scratch server could run as",
        "set scratch_user to an unprivileged user",
    )


def can_enter(folder: Path, user: str | None) -> bool:
    """Tell whether the user can enter the folder and all its parents."""
    try:
        run(Program(["test", "-x", str(folder)], user=user))
    except BackupError:
        return False
    return True


Recover = Callable[["ScratchServer", str | None], None]
"""Starts a server, which runs as the user, and waits until it has recovered."""


@contextmanager
def scratch_server(
    binaries: Binaries,
    folder: Path,
    user: str | None,
    superuser: str,
    recover: Recover | None = None,
) -> Iterator[ScratchServer]:
    """Start the server on `pgdata` in the folder, and stop it after the block.

    recover: how; it sees to it that redo writes nothing outside. None: by the snapshot's own WAL.
    """
    _check_reach(binaries, folder, user)
    if recover is None:
        check_tablespaces(binaries, folder / PGDATA, user)
    with ExitStack() as stack:
        sockets = _socket_folder(stack, folder, user)
        ours = pwd.getpwuid(os.geteuid()).pw_name
        users = (ours,) if user is None else (ours, user)
        server = ScratchServer(binaries, superuser, sockets, folder / _LOG, users)
        settings = scratch_settings(binaries, folder / PGDATA, user)
        _configure(server, folder, settings, user)
        stack.callback(stop_server, folder / PGDATA)
        (recover or start)(server, user)
        yield server


def start(server: ScratchServer, user: str | None) -> None:
    """Start the server, let it recover, and wait until it accepts connections."""
    try:
        run(
            Program(
                [
                    server.binaries["pg_ctl"],
                    "start",
                    "--wait",
                    "--timeout=604800",  # recovery may be long; pg_ctl sees a dead server
                    f"--pgdata={server.pgdata}",
                    f"--log={server.log}",
                    "--silent",
                ],
                server.environment,
                user=user,
                source="postgres",
                life=growth(server.log),  # it tells every ten seconds how far recovery is
            )
        )
    except SilentError:
        raise
    except BackupError as error:
        said = end_of_log(server.log, user) or error.message
        built = _BUILT_OTHERWISE.search(said)
        raise BackupError(
            "postgres.scratch_start",
            f"postgres: the scratch server did not start: {said}",
            f"set pg_bindir to programs built like the source's, with {built[1]}" if built else "",
        ) from error


def _check_reach(binaries: Binaries, folder: Path, user: str | None) -> None:
    unreachable = next(
        (path for path in (binaries.folder, folder) if not can_enter(path, user)), None
    )
    if unreachable is not None:
        raise BackupError(
            "postgres.scratch_reach",
            f"postgres: user {user}, whom the scratch server runs as, cannot enter {unreachable}",
            "open its parents for that user (chmod o+x), or set pg_bindir, scratch_dir or "
            "scratch_user",
        )


def _socket_folder(stack: ExitStack, folder: Path, user: str | None) -> Path:
    """Return the folder itself, or a shorter one if the path of a socket would be too long."""
    if len(os.fsencode(folder / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
        return folder
    return stack.enter_context(scratch_folder(_SHORT, user))


def _configure(
    server: ScratchServer, folder: Path, settings: Mapping[str, str], user: str | None
) -> None:
    pgdata = folder / PGDATA
    places = {
        "unix_socket_directories": f'"{server.socket_folder}"',
        "hba_file": str(folder / "hba.conf"),
        "ident_file": str(folder / "ident.conf"),
    }
    superuser = server.superuser.replace('"', '""')
    ours = [(server.users[0], role) for role in (superuser, server.masker)]
    known = [*ours, *((name, READER) for name in server.users)]
    with acting_as(user):
        for name in ("postgresql.auto.conf", "recovery.signal", "standby.signal"):
            (pgdata / name).unlink(missing_ok=True)
        _write(pgdata / "postgresql.conf", lines_of({**settings, **places}))
        _write(folder / "hba.conf", ["local all all peer map=scratch\n"])
        lines = (f'scratch "{name}" "{role}"\n' for name, role in known)
        _write(folder / "ident.conf", lines)


def _write(path: Path, lines: Iterable[str]) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes("".join(lines).encode(*AS_BYTES))
    path.chmod(0o600)


def end_of_log(log: Path, user: str | None) -> str:
    """Return why a server ended, in its own words; empty if it does not say."""
    with acting_as(user):
        if not log.exists():
            return ""
        readable = log.open("rb")
    with readable:
        readable.seek(max(0, log.stat().st_size - _LOG_END))
        lines = readable.read().decode("utf-8", "replace").splitlines()
    telling = [line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR|HINT|DETAIL):", line)]
    return "; ".join(line.partition("] ")[2] or line for line in telling[-_QUOTED_LINES:])
