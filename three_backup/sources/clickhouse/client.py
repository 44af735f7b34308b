"""The server, spoken to through `clickhouse-client`: a statement in by stdin, rows out.

By stdin, since whoever may list processes reads their arguments; and what the client prints on
stderr repeats the statement, so that keys and passwords are taken out of it.
"""

import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from three_backup.command import Program, run
from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.failures import explained

PROGRAM = "clickhouse-client"

Row = dict[str, Any]
"""By the names of the columns; 64-bit numbers may come as text, according to the server."""

_OPTIONS = (("CLICKHOUSE_HOST", "--host"), ("CLICKHOUSE_PORT", "--port"))
_TRUE = ("1", "true", "yes")
_LONGEST_WAIT = 3600
"""Seconds that a single statement may stay silent, CHECK TABLE of a huge table say."""

_FAILED = "clickhouse.failed"
_REDACTED = "[HIDDEN]"


class Client:
    """secrets: what must not be seen in any message; about: whom the messages speak of."""

    def __init__(self, about: str, secrets: Iterable[str | None] = ()) -> None:
        self._about = about
        self._redact = _redaction([*secrets, os.environ.get("CLICKHOUSE_PASSWORD")])

    def ask(self, statement: str) -> list[Row]:
        """Raises BackupError with a code `clickhouse.*`; see failures."""
        program = Program(_argv(), code=_FAILED, redact=self._redact, package="clickhouse-client")
        try:
            printed = run(program, statement.encode("utf-8", "surrogateescape"))
        except BackupError as error:
            if error.code != _FAILED:
                raise
            raise explained(self._about, error.message) from error
        return [json.loads(line) for line in printed.splitlines() if line]

    def explained(self, text: str) -> BackupError:
        """What the server keeps of a failure that happened while nobody waited for it."""
        return explained(self._about, self._redact(text))


def connect(about: str, storage: Storage | None = None) -> Client:
    """Nothing is asked of the server yet. storage: whose keys the statements will hold."""
    return Client(about, () if storage is None else (storage.secret_key, storage.access_key))


def _argv() -> tuple[str, ...]:
    """User and password the client takes from the environment, or from its own configuration."""
    options = [
        f"{option}={os.environ[variable]}"
        for variable, option in _OPTIONS
        if os.environ.get(variable)
    ]
    if os.environ.get("CLICKHOUSE_SECURE", "").lower() in _TRUE:
        options.append("--secure")
    return (PROGRAM, *options, "--format=JSONEachRow", f"--receive_timeout={_LONGEST_WAIT}")


def _redaction(secrets: Iterable[str | None]) -> Callable[[str], str]:
    """Secrets are found also where they are escaped, or where the end of a line was cut in two."""
    spelt = {form for one in secrets if one for form in (one, sql.literal(one)[1:-1])}
    if not spelt:
        return str
    split = ("(?:; )?".join(map(re.escape, one)) for one in sorted(spelt, key=len, reverse=True))
    pattern = re.compile("|".join(split))
    return lambda text: pattern.sub(_REDACTED, text)
