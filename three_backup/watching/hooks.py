"""Tells others of a run: commands of the operator, and a URL that is pinged.

Whatever fails or hangs here is only a warning: the backup has been taken.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from three_backup.command import Program, run
from three_backup.config.settings import RunSettings
from three_backup.errors import BackupError

_PREFIX = "THREE_BACKUP_"
_PING_SECONDS = 10.0
_OURS = ("PGPASSWORD", "CLICKHOUSE_PASSWORD")
"""Variables that are kept from the commands of the operator."""


class Event(StrEnum):
    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"


_PINGED = {Event.START: "/start", Event.SUCCESS: "", Event.FAILURE: "/fail"}


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is told of the events of a run."""

    commands: Mapping[Event, Sequence[str]] = field(default_factory=dict)  # argv by event
    timeout: float = 60.0  # seconds that a command has
    ping_url: str | None = None  # a secret

    @classmethod
    def of(cls, settings: RunSettings) -> Self:
        commands = {
            Event.START: settings.on_start,
            Event.SUCCESS: settings.on_success,
            Event.FAILURE: settings.on_failure,
        }
        given = {event: argv for event, argv in commands.items() if argv is not None}
        return cls(given, settings.hook_timeout.total_seconds(), settings.ping_url)

    def tell(self, event: Event, facts: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """Run the command of the event and ping the URL.

        facts: plain JSON; texts and numbers at its top become environment variables, too.
        """
        try:
            if event in self.commands:
                run(self._program(event, facts), json.dumps({"event": event, **facts}) + "\n")
        except BackupError as error:
            say(f"{error}; the run itself is not concerned")
        if self.ping_url is not None:
            self._ping(event, str(facts.get("headline", "")), say)

    def _program(self, event: Event, facts: Mapping[str, Any]) -> Program:
        variables = {
            f"{_PREFIX}{name.upper()}": str(value)
            for name, value in {"event": event, **facts}.items()
            if isinstance(value, str | int | float)
        }
        return Program(
            self.commands[event],
            {**variables, **dict.fromkeys(_OURS)},
            code="hook.failed",
            what=f"on_{event}",
            timeout=self.timeout,
        )

    def _ping(self, event: Event, body: str, say: Callable[[str], None]) -> None:
        import urllib.request
        from http.client import HTTPException

        parts = urlsplit(self.ping_url or "")
        path = parts.path.rstrip("/") + _PINGED[event]
        url = urlunsplit(parts._replace(path=path))
        request = urllib.request.Request(url, body.encode(), method="POST")  # noqa: S310  checked
        try:
            with urllib.request.urlopen(request, timeout=_PING_SECONDS):  # noqa: S310
                pass
        except (OSError, HTTPException, ValueError) as error:
            # Without the path and the text of the error: whoever knows the URL can ping it.
            why = getattr(error, "reason", None) or type(error).__name__
            say(f"ping_url: {parts.hostname} was not reached on {event} ({why})")
