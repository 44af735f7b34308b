"""Speaks to the server through `clickhouse-client`: a statement in by stdin, rows out.

Not by arguments, since whoever may list processes reads them. What the client prints on stderr
repeats the statement, so keys and passwords are removed from it.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from io import BufferedIOBase
from typing import Any
from uuid import uuid4

from three_backup.command import Begun, Program, begun, run, stream
from three_backup.errors import BackupError, SilentError, UnreachableError
from three_backup.host.patience import Pulse
from three_backup.model.storage import Storage
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.failures import explained

_PROGRAM = "clickhouse-client"

Row = dict[str, Any]
"""Values by column name; 64-bit numbers may come as text, depending on the server."""

_OPTIONS = (("CLICKHOUSE_HOST", "--host"), ("CLICKHOUSE_PORT", "--port"))
_TRUE = ("1", "true", "yes")
_LONGEST_WAIT = 7 * 86_400
"""Seconds that the client itself waits for bytes; server_timeout ends it before."""
_PULSE_SECONDS = 10.0
# Only what the statement itself moved: a thread that waits uses time as well.
_PULSE = """
SELECT read_rows, read_bytes, written_rows, ProfileEvents['SelectedBytes'],
       ProfileEvents['ReadBufferFromFileDescriptorReadBytes'],
       ProfileEvents['ReadBufferFromS3Bytes'], ProfileEvents['WriteBufferFromS3Bytes']
  FROM system.processes WHERE Settings['log_comment'] = {}
"""

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

_SOURCE = "clickhouse"
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
        comment, looked = f"three_backup {uuid4()}", list[Pulse | None]()

        def life(_process: int) -> Pulse | None:
            looked.append(self._pulse(comment))
            return looked[-1]

        program = replace(self._program, argv=_argv(comment), source=_SOURCE, life=life)
        try:
            with self._explaining():
                return _rows(run(program, _encoded(statement)))
        except SilentError as error:
            raise _silent(self._about, error, answers=bool(looked and looked[-1])) from error

    @contextmanager
    def stream(self, statement: str) -> Iterator[BufferedIOBase]:
        """Yield what the server prints for a statement that names its format."""
        comment = f"three_backup {uuid4()}"
        program = replace(
            self._program,
            argv=_argv(comment),
            source=_SOURCE,
            life=lambda _process: self._pulse(comment),
        )
        with self._explaining(), stream(program, _encoded(statement)) as readable:
            yield readable

    @contextmanager
    def begun(self, statement: str) -> Iterator["Statement"]:
        """Give the server a statement that takes long; after the block nobody waits for it.

        Whether the server is at work on it must be seen in another way: this waits for ever.
        """
        program = replace(self._program, source=_SOURCE)
        with begun(program, _encoded(statement)) as child:
            yield Statement(child, self._explaining)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except BackupError as error:
            if error.code != _FAILED:
                raise
            raise explained(self._about, error.message) from error

    @property
    def _program(self) -> Program:
        return Program(_argv(), code=_FAILED, redact=self._redact, package="clickhouse-client")

    def _pulse(self, comment: str) -> Pulse | None:
        """Ask how far the statement with this comment has got."""
        program = replace(self._program, timeout=_PULSE_SECONDS)
        try:
            found = _rows(run(program, _PULSE.format(sql.literal(comment))))
        except BackupError:
            return None
        return Pulse(found)

    def explained(self, text: str) -> BackupError:
        """Explain the text that the server keeps of a failure nobody waited for."""
        return explained(self._about, self._redact(text))


class Statement:
    """A statement that the server was given, and what it answers in the end."""

    def __init__(
        self, child: Begun, explaining: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._child, self._explaining = child, explaining
        self._over = False

    def pause(self, seconds: float) -> bool:
        """Wait so many seconds, or until there is an answer; return whether there is one.

        It waits in full once the answer was seen.
        """
        if self._over:
            time.sleep(seconds)
        else:
            self._over = self._child.speaks(seconds)
        return self._over

    def rows(self) -> list[Row]:
        """Return the answer. Raises BackupError as ask() does."""
        with self._explaining():
            return _rows(self._child.output())


def connect(about: str, storage: Storage | None = None) -> Client:
    """Return a client; asks the server nothing yet. storage: its credentials are hidden."""
    return Client(about, () if storage is None else (storage.secret_key, storage.access_key))


def _encoded(statement: str) -> bytes:
    return statement.encode("utf-8", "surrogateescape")


def _rows(printed: str) -> list[Row]:
    return [json.loads(line) for line in printed.splitlines() if line]


def _silent(about: str, error: SilentError, *, answers: bool) -> BackupError:
    if answers:
        return SilentError(error.code, f"{about}: {error.message}", error.hint)
    return UnreachableError(
        "clickhouse.unreachable",
        f"{about}: the server does not answer: {error.message}",
        "check that the server runs; server_timeout says how long it is given",
    )


def _argv(comment: str | None = None) -> tuple[str, ...]:
    settings: dict[str, object] = {**_PLAIN, "receive_timeout": _LONGEST_WAIT}
    if comment is not None:
        settings["log_comment"] = comment
    options = [f"--{name}={value}" for name, value in settings.items()]
    return (*client_argv(), *options, "--format=JSONEachRow")


def client_argv() -> tuple[str, ...]:
    """Return argv. The client takes user and password from environment or configuration."""
    options = [
        f"{option}={os.environ[variable]}"
        for variable, option in _OPTIONS
        if os.environ.get(variable)
    ]
    if os.environ.get("CLICKHOUSE_SECURE", "").lower() in _TRUE:
        options.append("--secure")
    return (_PROGRAM, *options)


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
