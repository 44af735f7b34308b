"""How long a request that S3 fails is repeated.

The limit is a time, not a number of tries: a provider that throttles does so for minutes.
"""

import os
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from three_backup.host import signals
from three_backup.model.storage import Storage
from three_backup.s3.away import Away
from three_backup.s3.failures import trouble

Say = Callable[[str], None]

_STRANGER = 15.0
"""Limit in seconds for a server that never answered: a mistyped address is reported soon."""
_QUIET = 3.0
"""Seconds that may be lost before somebody is told."""
_LONGEST_PAUSE = 10.0
_SINCE = "three_backup.since"


class Patience:
    """The patience with all requests of one client; its threads share it.

    Once it has run out, nothing is repeated until the server answers again: else a thousand
    carriers would wait for it one after the other, and so would the stages of a run.
    """

    def __init__(self, storage: Storage, say: Say) -> None:
        self._storage = storage
        self._say = say
        self._away = Away.of(storage.endpoint, os.environ)
        self._known = False
        self._exhausted = False

    def pause(
        self,
        attempts: int,
        response: tuple[Any, Mapping[str, Any]] | None,
        caught_exception: Exception | None,
        request_dict: Mapping[str, Any],
        **_: Any,
    ) -> float | None:
        """Wait before the next try and return 0, or return None for no more tries.

        botocore calls this after every try.
        """
        what = trouble(response, caught_exception, self._storage)
        if response is not None:
            self._known = True
        if what is None:
            self._exhausted = False
            self._away.answered(time.time())
            return None
        now = time.monotonic()
        lost = now - request_dict["context"].setdefault(_SINCE, now)
        wait: float = min(0.1 * 2**attempts, _LONGEST_PAUSE)
        if self._away.known(time.time()):
            self._exhausted = True
        elif lost + wait > self._limit.total_seconds():
            self._exhausted = True
            self._away.give_up()
        if self._exhausted:
            return None
        if lost + wait > _QUIET:
            self._say(f"{what}; it is tried again for up to {self._limit}")
        return None if signals.pause(wait) else 0

    @property
    def _limit(self) -> timedelta:
        limit = self._storage.timeout
        return limit if self._known else min(limit, timedelta(seconds=_STRANGER))
