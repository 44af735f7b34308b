"""How long a server, or a program that speaks to one, may show no sign of life.

Every wait for one ends after `server_timeout` without such a sign. The configuration is told here
once a process, as the variables of its .env become those of the process.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from three_backup.errors import SilentError
from three_backup.host import signals

CLEAN_UP = 10.0
"""Seconds, at most, that a clean-up waits for a server which has been silent for too long."""

_DEFAULT = 600.0
_LEAST = 0.2
"""Seconds that even the last wait has: whoever answers at once is heard."""
_SLICE = 1.0  # a signal that comes just before the process sleeps is handled only afterwards
_QUESTIONS = 60
"""How often a server is asked, until its time is over, whether it is at work."""
_OFTEN = 0.1

_Limits = Callable[[str], float]
_limits: list[_Limits] = [lambda source: _DEFAULT]
_silent: set[str] = set()
"""Servers and programs that were silent for too long, and were not heard since."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """A server's report on the work that is waited for."""

    life: object  # differs from one time to the next if anything went on in between
    doing: str = ""  # for people


Ask = Callable[[], Pulse | None]
"""Asks whether the work goes on; None: nobody answers."""


def configure(limits: _Limits) -> None:
    """Set how many seconds a server of a source may be silent."""
    _limits[0] = limits


def limit(source: str, who: str = "") -> float:
    """Return how many seconds a wait that begins now may last without a sign of life.

    Less for who was silent before, so that many objects of a hung server do not cost hours, for
    the clean-up after that, and for the clean-up after a signal.
    """
    left = signals.time_left()
    if left is not None:
        return max(left, _LEAST)
    given = _limits[0](source)
    if _is_cleaning_up():
        return min(given, CLEAN_UP)
    return min(given, max(given / 10, CLEAN_UP)) if who in _silent else given


class Silence:
    """A wait for one server or program. Check it before each look; tell it of each sign of life.

    what: who is waited for, for messages; who: the same for several waits; ask: see Ask.
    at_most: a limit in seconds besides that of the source.
    """

    def __init__(
        self, what: str, source: str, who: str, ask: Ask | None = None, at_most: float = inf
    ) -> None:
        self._what, self._source, self._who = what, source, f"{source}/{who}"
        self._ask, self._at_most = ask, at_most
        self._pulse: Pulse | None = None
        self.answers = True  # whoever is asked
        self.begin()

    def begin(self) -> None:
        """Begin a new wait."""
        self._since = self._asked = time.monotonic()

    def broken(self) -> None:
        """Note a sign of life."""
        self.begin()
        _silent.discard(self._who)

    def check(self) -> float:
        """Return for how many seconds to look now. Raises SilentError if there was no life."""
        signals.obey_beside()
        longest = min(limit(self._source, self._who), self._at_most)
        pause = max(longest / _QUESTIONS, _OFTEN)
        if self._ask is not None and time.monotonic() - self._asked >= pause:
            self._look(self._ask)
        left = self._since + longest - time.monotonic()
        if left <= 0:
            signals.obey()
            _silent.add(self._who)
            raise self._error(longest)
        return min(left, _SLICE, pause)

    def _look(self, ask: Ask) -> None:
        before, self._pulse = self._pulse, ask()
        self.answers = self._pulse is not None
        self._asked = time.monotonic()
        if before is not None and self._pulse is not None and before.life != self._pulse.life:
            self.broken()

    def _error(self, longest: float) -> SilentError:
        doing = f" ({self._pulse.doing})" if self._pulse and self._pulse.doing else ""
        return SilentError(
            "server.silent",
            f"{self._what} showed no sign of life for {timedelta(seconds=longest)} and was given "
            f"up{doing}",
            "see what it waits for; server_timeout says how long it is given",
        )


def _is_cleaning_up() -> bool:
    """Return whether somebody in this thread handles a SilentError: cleans up after it."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, SilentError):
            return True
        error = error.__context__
    return False
