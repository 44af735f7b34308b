"""Speaks to the server through `clickhouse-client`: a statement in by stdin, rows out.

Not by arguments, since whoever may list processes reads them. What the client prints on stderr
repeats the statement, so keys and passwords are removed from it.
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
"""Values by column name; 64-bit numbers may come as text, depending on the server."""

_OPTIONS = (("CLICKHOUSE_HOST", "--host"), ("CLICKHOUSE_PORT", "--port"))
_TRUE = ("1", "true", "yes")
_LONGEST_WAIT = 3600
"""Seconds that one statement may stay silent, such as CHECK TABLE of a huge table."""

_PLAIN = {
    "limit": 0,
    "offset": 0,
    "max_result_rows": 0,
    "max_result_bytes": 0,
    "join_use_nulls": 0,
    "final": 0,
    "prefer_column_name_to_alias": 0,
    "empty_result_for_aggregation_by_empty_set": 0,
    "output_format_json_array_of_rows": 0,
}
"""Settings that a profile of the user may have, and with which we would read something else."""

_FAILED = "clickhouse.failed"
_REDACTED = "[HIDDEN]"


class Client:
    """The server as `clickhouse-client` reaches it.

    about: what the messages speak of; secrets: hidden in every message.
    """

    def __init__(self, about: str, secrets: Iterable[str | None] = ()) -> None:
        self._about = about
        self._redact = _redaction([*secrets, os.environ.get("CLICKHOUSE_PASSWORD")])

    def ask(self, statement: str) -> list[Row]:
        """Run a statement. Raises BackupError with a code `clickhouse.*`; see failures."""
        program = Program(_argv(), code=_FAILED, redact=self._redact, package="clickhouse-client")
        try:
            printed = run(program, statement.encode("utf-8", "surrogateescape"))
        except BackupError as error:
            if error.code != _FAILED:
                raise
            raise explained(self._about, error.message) from error
        return [json.loads(line) for line in printed.splitlines() if line]

    def explained(self, text: str) -> BackupError:
        """Explain the text that the server keeps of a failure nobody waited for."""
        return explained(self._about, self._redact(text))


def connect(about: str, storage: Storage | None = None) -> Client:
    """Return a client; asks the server nothing yet. storage: its credentials are hidden."""
    return Client(about, () if storage is None else (storage.secret_key, storage.access_key))


def _argv() -> tuple[str, ...]:
    """Return argv. The client takes user and password from environment or configuration."""
    options = [
        f"{option}={os.environ[variable]}"
        for variable, option in _OPTIONS
        if os.environ.get(variable)
    ]
    if os.environ.get("CLICKHOUSE_SECURE", "").lower() in _TRUE:
        options.append("--secure")
    settings = {**_PLAIN, "receive_timeout": _LONGEST_WAIT}
    options += [f"--{name}={value}" for name, value in settings.items()]
    return (PROGRAM, *options, "--format=JSONEachRow")


def _redaction(secrets: Iterable[str | None]) -> Callable[[str], str]:
    """Return a function that hides secrets, also if escaped or broken by the end of a line."""
    spelt = {form for secret in secrets if secret for form in (secret, sql.literal(secret)[1:-1])}
    if not spelt:
        return str
    split = (
        "(?:; )?".join(map(re.escape, spelling))
        for spelling in sorted(spelt, key=len, reverse=True)
    )
    pattern = re.compile("|".join(split))
    return lambda text: pattern.sub(_REDACTED, text)
