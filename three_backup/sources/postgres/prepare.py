"""Find the server of this host, and what lets a role back it up."""

import os
import pwd
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from three_backup.command import Program, run
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.findings import Finding, Mark, good, note
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.lacking import STATE, State, lacking
from three_backup.sources.postgres.preflight import OLDEST
from three_backup.sources.postgres.relations import TYPE
from three_backup.sources.preparing import ROLE, Preparation, taken_over

_VARIABLES = (
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGDATABASE",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGOPTIONS",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
)
"""What a login depends on; runs of cron have none of it but what .env says."""

_WHERE = ("PGHOST", "PGHOSTADDR", "PGSERVICE")
_WHO = (*_WHERE, "PGUSER", "PGPASSWORD", "PGDATABASE")
_LOOPBACK = "127.0.0.1"
_HERE = ("", "localhost", _LOOPBACK, "::1")
_SOCKETS = Path("/var/run/postgresql")
_SOCKET, _PORT = ".s.PGSQL.", "5432"
_SECONDS = 20.0
_NEEDS = "it needs what is shown below"


def prepare(environ: Mapping[str, str]) -> Preparation:
    refused: BackupError | None = None
    for login in _logins(environ):
        given = {**taken_over(environ, _VARIABLES), **login}
        try:
            state = _asked(login)
        except UnreachableError as error:
            refused = refused or error
        except BackupError as error:
            return _proposed(given, error)
        else:
            return _known(given, state)
    sentence = "no server answers" if refused is None else refused.message
    remedy = "start it, or set PGHOST and PGPORT"
    return Preparation(Finding(Mark.NOTE, TYPE, sentence, remedy), answers=False)


def _logins(environ: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Yield the variables by which a server of this host may be found, over those that are set."""
    yield {}
    if not any(environ.get(name) for name in _WHERE):
        port = environ.get("PGPORT", "")
        for socket in sorted(_SOCKETS.glob(f"{_SOCKET}[0-9]*")):
            found = socket.name.removeprefix(_SOCKET)
            if found.isdecimal() and port in ("", found):
                yield {"PGHOST": str(_SOCKETS), "PGPORT": found}


def _asked(login: Mapping[str, str]) -> State:
    options = {name.removeprefix("PG").lower(): value for name, value in login.items()}
    with connect(**options) as connection:
        ((text,),) = connection.execute(STATE.format("current_user")).fetchall()
    return State.parse(text)


def _known(given: Mapping[str, str], state: State) -> Preparation:
    """Prepare for the login that the server takes already."""
    if state.too_old:
        return _too_old(state)
    sentence = f"PostgreSQL {state.server.split()[0]} answers, to role {state.role}"
    statements = tuple(lacking(state, state.role))
    found = note(TYPE, sentence, _NEEDS) if statements else good(TYPE, sentence)
    return _prepared(found, given, given, statements)


def _proposed(given: Mapping[str, str], error: BackupError) -> Preparation:
    """Propose a login of its own, where ours is refused.

    One that has a password, as left by an attempt that was killed, is kept.
    """
    role, password = given.get("PGUSER"), given.get("PGPASSWORD")
    if role is None or password is None or not _is_plain(password):
        role, password = ROLE, secrets.token_urlsafe(24)
    state = _state_of(given, role)
    if state.too_old:
        return _too_old(state)
    host = given.get("PGHOST", "")
    if host == "" or host.startswith("/"):
        host = _LOOPBACK  # Debian's pg_hba.conf takes a password there, not at the socket
    found = note(TYPE, error.message, f"make role {role}: {_NEEDS}")
    variables = {**given, "PGHOST": host, "PGUSER": role, "PGPASSWORD": password}
    return _prepared(found, given, variables, tuple(lacking(state, role, password)))


def _prepared(
    found: Finding,
    given: Mapping[str, str],
    variables: Mapping[str, str],
    statements: tuple[str, ...],
) -> Preparation:
    host, port = given.get("PGHOST", ""), given.get("PGPORT", "")
    at = f" -p {port}" if port else ""
    if _owner(given) is None:
        host = f" -h {host}" if host else ""
        return Preparation(found, variables, statements, f"psql -U postgres{host}{at}")
    at = f"{'' if host in _HERE else f' -h {host}'}{at}"
    client, script = f"runuser -u {_owner(given)} -- psql{at}", "\n".join(statements)
    return Preparation(found, variables, statements, client, partial(_by_owner, given, script))


def _is_plain(password: str) -> bool:
    """Return whether servers hash the password as it is; others they normalize first."""
    return password.isascii() and password.isprintable()


def _too_old(state: State) -> Preparation:
    sentence = f"PostgreSQL {state.server.split()[0]} has no incremental backups"
    return Preparation(note(TYPE, sentence, f"upgrade it to {OLDEST} or later"), answers=False)


def _state_of(given: Mapping[str, str], role: str) -> State:
    """Return what the server has, as its owner sees it; where that is not possible, nothing."""
    literal = "'" + role.replace("'", "''") + "'"
    if _owner(given) is not None:
        with suppress(BackupError, ValueError, TypeError):
            return State.parse(_by_owner(given, STATE.format(f"{literal}::name")))
    return State()


def _by_owner(given: Mapping[str, str], script: str) -> str:
    """Run SQL as the owner of the socket, whom servers of Debian take for their administrator.

    Raises BackupError.
    """
    place = {"PGHOST": str(_folder(given)), "PGPORT": given.get("PGPORT") or _PORT}
    environment = {**dict.fromkeys(_WHO), **place}
    argv = ("psql", "-XAtqw", "-d", "postgres", "-v", "ON_ERROR_STOP=1")
    program = Program(
        argv, environment, user=_owner(given), code="postgres.prepare", what=TYPE, timeout=_SECONDS
    )
    return run(program, script)


def _owner(given: Mapping[str, str]) -> str | None:
    """Return the user whose socket the server's is; None if we are nobody to act for that user."""
    folder, port = _folder(given), given.get("PGPORT") or _PORT
    if folder is None or os.geteuid() != 0:
        return None
    with suppress(OSError, KeyError):
        user = pwd.getpwuid((folder / f"{_SOCKET}{port}").stat().st_uid)
        return user.pw_name if user.pw_uid else None
    return None


def _folder(given: Mapping[str, str]) -> Path | None:
    """Return the folder of the server's socket; None if it is on another host."""
    host = given.get("PGHOST", "")
    if given.get("PGHOSTADDR") or given.get("PGSERVICE"):
        return None
    if host in _HERE:
        return _SOCKETS
    return Path(host) if host.startswith("/") else None
