"""How fast bytes may go to S3 and come from there, by the hours of the day."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Self

_UNITS = {"kB": 1000, "MB": 1000**2, "GB": 1000**3}
_TIME = r"([0-9]{1,2})(?::([0-5][0-9]))?"
_LIMIT = re.compile(
    rf"([0-9]{{1,6}}(?:\.[0-9]{{1,3}})?) ?(kB|MB|GB)/s(?: from {_TIME} to {_TIME})?", re.ASCII
)
_SLOWEST = 100_000
"""Bytes a second. A part of an upload takes minutes then, and servers wait no longer."""

_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A limit for some hours or all day; outside of its hours there is none."""

    text: str
    # Bytes a second for each minute of the day by the clock on the wall; None: unlimited.
    _rates: tuple[int | None, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `8 MB/s`, or `8 MB/s from 8 to 20`, several separated by commas.

        What has hours goes before what has none. Raises ValueError, which says what is expected.
        """
        limited: dict[int, int] = {}
        all_day: int | None = None
        for each in text.split(","):
            rate, minutes = _limit(" ".join(each.split()))
            if minutes is None:
                if all_day is not None:
                    raise ValueError("it has two limits for the whole day; write one")
                all_day = rate
            elif not limited.keys().isdisjoint(minutes):
                raise ValueError("it has two limits for the same hours; write one for each")
            else:
                limited.update(dict.fromkeys(minutes, rate))
        return cls(text, tuple(limited.get(minute, all_day) for minute in range(_DAY)))

    def at(self, time: datetime, zone: tzinfo) -> int | None:
        """Return how many bytes may go in a second; None if there is no limit at that time."""
        local = time.astimezone(zone)
        return self._rates[local.hour * 60 + local.minute]

    def __str__(self) -> str:
        return self.text


def _limit(text: str) -> tuple[int, list[int] | None]:
    """Return bytes a second, and the minutes of the day; None for the whole day."""
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a limit; write 8 MB/s, or 8 MB/s from 8 to 20 (bytes, not bits)"
        )
    rate = round(float(match[1]) * _UNITS[match[2]])
    if rate < _SLOWEST:
        raise ValueError(f"{text!r} is too slow for uploads to end; write 100 kB/s or more")
    if match[3] is None:
        return rate, None
    return rate, list(_minutes(_minute(match[3], match[4]), _minute(match[5], match[6])))


def _minute(hour: str, minute: str | None) -> int:
    found = int(hour) * 60 + int(minute or 0)
    if found > _DAY:
        raise ValueError(f"{hour} is no hour; write 0 to 24")
    return found


def _minutes(since: int, until: int) -> Iterator[int]:
    """Yield the minutes from one time to another, which may be that of the next day."""
    if since == until:
        raise ValueError("its hours end when they begin; leave them out for the whole day")
    last = until if until > since else until + _DAY
    yield from (minute % _DAY for minute in range(since, last))
