"""Cron schedules in the time zone of the host: when one fired last, and what is due."""

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from pathlib import Path
from typing import Self

from three_backup.errors import ConfigurationError

_LOCALTIME = Path("/etc/localtime")
_FIELDS = 5
_ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_HASHED = re.compile(r"(?<![a-z])[rh](?![a-z])", re.IGNORECASE)
_LEAP_DAY = datetime.fromisoformat("2024-02-29")
_SECOND = timedelta(seconds=1)
_CLOCK_SLACK = timedelta(minutes=1)
"""A newest snapshot this far ahead is no error.

Clocks are corrected, and the second snapshot within a second is dated to the next second.
"""


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule: five fields as in crontab(5), or `@daily` and its kin.

    A firing in an hour that clocks skip happens when they are set forward. A firing in an hour
    that occurs twice happens the first time only.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a schedule. Raises ConfigurationError if text is none or never fires."""
        text = " ".join(text.split())
        wrong = _what_is_wrong(text)
        if wrong:
            raise ConfigurationError(
                "schedule.malformed",
                f"{text!r} is not a schedule: {wrong}",
                "write minute, hour, day of month, month, day of week: '0 3 * * *'",
            )
        return cls(text)

    def last_firing(self, now: datetime, zone: tzinfo) -> datetime:
        """Return the newest firing that is not after now, in UTC."""
        return _last_firing(self.text, _second(now), zone)

    def next_firing(self, now: datetime, zone: tzinfo) -> datetime:
        """Return the first firing after now, in UTC."""
        return _next_firing(self.text, _second(now), zone)


def is_due(schedule: Cron, newest: datetime | None, now: datetime, zone: tzinfo) -> bool:
    """Whether the schedule fired since newest was taken; missed firings count once.

    A newest from the future does not tell what was missed, so the schedule is due.
    """
    if newest is None or is_from_the_future(newest, now):
        return True
    return newest < schedule.last_firing(now, zone)


def is_from_the_future(newest: datetime, now: datetime) -> bool:
    """Whether newest was taken while the clock was wrong."""
    return newest > now + _CLOCK_SLACK


def host_zone(environ: Mapping[str, str], localtime: Path = _LOCALTIME) -> tzinfo:
    """Return the time zone of the host: $TZ, else /etc/localtime, else UTC.

    $TZ is a name or the full path of a file. Raises ConfigurationError if it cannot be read.
    """
    from zoneinfo import ZoneInfo

    name = environ.get("TZ", "").removeprefix(":") or str(localtime)
    try:
        return _read_zone(name) if name.startswith("/") else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        if name == str(localtime) and isinstance(error, FileNotFoundError):
            return UTC
        raise ConfigurationError(
            "schedule.zone",
            f"the time zone {name!r} cannot be read: {error}",
            "set TZ to a name such as Europe/Berlin, or unset it",
        ) from error


@cache
def _read_zone(path: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    with Path(path).open("rb") as file:
        return ZoneInfo.from_file(file, key=path)


def _what_is_wrong(text: str) -> str:
    fields = text.split()
    if text.startswith("@"):
        return "" if text in _ALIASES else f"only {', '.join(_ALIASES)} are known"
    if len(fields) != _FIELDS:
        return f"it has {len(fields)} fields, not {_FIELDS}"
    if _HASHED.search(text):
        return "R and H would fire at another time each time they are read"
    return _what_croniter_says(text)


def _what_croniter_says(text: str) -> str:
    from croniter import CroniterBadCronError, CroniterBadDateError, croniter

    try:
        croniter(text, _LEAP_DAY).get_next(datetime)
    except CroniterBadDateError:
        return "it never fires"
    except CroniterBadCronError as error:
        return str(error)
    return ""


def _wall_clock(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _second(now: datetime) -> datetime:
    """Cut now to whole seconds, in UTC: nothing fires within a second, so caches hit more often.

    In other zones the two instants of an hour that occurs twice would be equal.
    """
    return now.astimezone(UTC).replace(microsecond=0)


def _minute(wall: datetime) -> datetime:
    """Cut wall to whole minutes: nothing fires within one, so caches hit more often."""
    return wall.replace(second=0, microsecond=0)


def _set_back(now: datetime, zone: tzinfo) -> timedelta:
    """Return how far clocks were set back, if now is in the second pass of a repeated hour.

    Clocks may have shown a time that much later already. Otherwise zero.
    """
    local = now.astimezone(zone)
    first = local.replace(fold=0)
    return (now - first.astimezone(UTC)) if local.fold else timedelta()


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    """Return when clocks first show wall or, if they jump over it, when they jump."""
    local = wall.replace(tzinfo=zone)
    instant = local.astimezone(UTC)
    if _wall_clock(instant, zone) == wall:
        return instant
    before = local.replace(fold=1).astimezone(UTC)
    seconds = range(int((instant - before) / _SECOND))
    jump = bisect_left(
        seconds, wall, key=lambda second: _wall_clock(before + second * _SECOND, zone)
    )
    return before + jump * _SECOND


# Ten thousand objects ask within a second, and share a few schedules.
@lru_cache(maxsize=64)
def _last_firing(text: str, now: datetime, zone: tzinfo) -> datetime:
    wall = _minute(_wall_clock(now, zone) + _set_back(now, zone)) + _SECOND
    while (firing := _instant(wall := _previous(text, wall), zone)) > now:
        pass
    return firing


@lru_cache(maxsize=64)
def _next_firing(text: str, now: datetime, zone: tzinfo) -> datetime:
    wall = _minute(_wall_clock(now, zone))
    while (firing := _instant(wall := _next(text, wall), zone)) <= now:
        pass
    return firing


@lru_cache(maxsize=1024)
def _previous(text: str, wall: datetime) -> datetime:
    """Return the newest firing before wall."""
    from croniter import croniter

    found: datetime = croniter(text, wall).get_prev(datetime)
    return found


@lru_cache(maxsize=1024)
def _next(text: str, wall: datetime) -> datetime:
    from croniter import croniter

    found: datetime = croniter(text, wall).get_next(datetime)
    return found
