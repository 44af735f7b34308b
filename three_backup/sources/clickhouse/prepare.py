"""Find the server, and the grants that a user lacks for backups."""

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress

from three_backup.command import Program, run
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.findings import Finding, Mark, good, note
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.client import Client, client_argv, connect
from three_backup.sources.clickhouse.relations import TYPE
from three_backup.sources.preparing import ROLE, Preparation, taken_over

_VARIABLES = (
    "CLICKHOUSE_HOST",
    "CLICKHOUSE_PORT",
    "CLICKHOUSE_USER",
    "CLICKHOUSE_PASSWORD",
    "CLICKHOUSE_SECURE",
)
_WHO = "SELECT version() AS version, currentUser() AS user"
_VERSION = re.compile(r"(\d+)\.(\d+)")
_GRANTS = (
    "SHOW, BACKUP ON *.*",
    "SELECT ON system.*",
    "ALTER UPDATE ON *.*",
)
"""What backups need on servers of every version; the manual page says for what."""

_READ_AND_WRITE = (25, 7)
"""The version since which reading and writing S3 are rights of their own."""
_SECONDS = 20.0


def prepare(environ: Mapping[str, str]) -> Preparation:
    given = taken_over(environ, _VARIABLES)
    client = connect(TYPE)
    try:
        (row,) = client.ask(_WHO)
    except UnreachableError as error:
        found = Finding(Mark.NOTE, TYPE, "no server answers", error.hint)
        return Preparation(found, answers=False)
    except BackupError as error:
        return _proposed(given, error)
    version, user = str(row["version"]), str(row["user"])
    statements = tuple(
        f"GRANT {grant} TO {sql.identifier(user)};" for grant in _lacking(client, version)
    )
    sentence = f"ClickHouse {version} answers, to user {user}"
    found = (
        note(TYPE, sentence, "it needs what is shown below")
        if statements
        else good(TYPE, sentence)
    )
    return Preparation(found, given, statements, _administrators(given))


def grants(version: str) -> tuple[str, ...]:
    """Return what a user needs for backups by a server of this version."""
    found = _VERSION.match(version)
    newer = found is not None and (int(found[1]), int(found[2])) >= _READ_AND_WRITE
    return (*_GRANTS, "READ, WRITE ON S3" if newer else "S3 ON *.*")


def _lacking(client: Client, version: str) -> Iterator[str]:
    """Yield the grants that our user lacks; none where the server is too old to say."""
    for grant in grants(version):
        with suppress(BackupError):
            (row,) = client.ask(f"CHECK GRANT {grant}")
            if not any(map(int, row.values())):
                yield grant


def _proposed(given: Mapping[str, str], error: BackupError) -> Preparation:
    """Propose a user of its own, where ours is refused.

    One that has a password, as left by an attempt that was killed, is kept.
    """
    user, password = given.get("CLICKHOUSE_USER"), given.get("CLICKHOUSE_PASSWORD")
    if user is None or password is None:
        user, password = ROLE, secrets.token_urlsafe(24)
    name, digest = sql.identifier(user), hashlib.sha256(password.encode()).hexdigest()
    statements = (
        f"CREATE USER IF NOT EXISTS {name};",
        f"ALTER USER {name} IDENTIFIED WITH sha256_hash BY\n  '{digest}';",
        *(f"GRANT {grant} TO {name};" for grant in grants(_of_client())),
    )
    variables = {**given, "CLICKHOUSE_USER": user, "CLICKHOUSE_PASSWORD": password}
    sentence = error.message.removeprefix(f"{TYPE}: ")
    found = note(TYPE, sentence, f"make user {user}; the SQL for it is shown below")
    return Preparation(found, variables, statements, _administrators(given))


def _of_client() -> str:
    """Return the version of the client: mostly that of the server, which does not let us ask."""
    with suppress(BackupError):
        printed = run(Program((*client_argv()[:1], "--version"), timeout=_SECONDS, source=TYPE))
        found = _VERSION.search(printed)
        return found[0] if found else ""
    return ""


def _administrators(given: Mapping[str, str]) -> str:
    host, port = given.get("CLICKHOUSE_HOST"), given.get("CLICKHOUSE_PORT")
    words = (f" --host {host}" if host else "", f" --port {port}" if port else "")
    return f"clickhouse-client{''.join(words)} --multiquery --ask-password"
