"""The time axis of a carrier: which days it shows, and where on it a moment lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_MOST_IN_SIGHT = 0.85
"""The share of the snapshots that an axis has to show: a few old ones would squeeze the others."""

_LONGER = 1.4
"""How many times longer the axis may become to show the others, too."""

_STEPS = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 48, 96, 168, 336))
_MOST_TICKS = 7
_MARGIN = 1.5
"""Percent at each end, so that no mark is cut off."""


@dataclass(frozen=True, slots=True)
class Tick:
    at: str  # as Scale.at
    label: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Some time up to now, spread over the width of the page."""

    since: datetime
    until: datetime

    @classmethod
    def of(cls, times: Sequence[datetime], now: datetime) -> Self:
        """Return the time up to now in which most of the times lie, if not all."""
        ages = sorted(now - time for time in times) or [_DAY]
        most = ages[min(len(ages) - 1, int(len(ages) * _MOST_IN_SIGHT))]
        length = ages[-1] if ages[-1] <= most * _LONGER else most
        return cls(now - max(length, _HOUR), now)

    def shows(self, time: datetime) -> bool:
        return time >= self.since

    def share(self, time: datetime) -> float:
        """Return where the time lies, in percent of the width; at an end if it lies beyond."""
        share = (time - self.since) / (self.until - self.since)
        return _MARGIN + min(max(share, 0.0), 1.0) * (100 - 2 * _MARGIN)

    def at(self, time: datetime) -> str:
        return percent(self.share(time))

    def ticks(self, zone: tzinfo) -> list[Tick]:
        """Return round times of the zone, at most seven or so."""
        length = self.until - self.since
        step = next((step for step in _STEPS if length / step <= _MOST_TICKS), length / 5)
        start = self.since.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        times = (_later(start, step * number) for number in range(int(_DAY / step) + 8))
        shown = "%-d %b" if step >= _DAY else "%H:%M"
        return [
            Tick(self.at(time), time.strftime(shown))
            for time in times
            if self.since <= time.astimezone(UTC) <= self.until
        ]


def percent(share: float) -> str:
    return f"{share:.2f}%"


def _later(start: datetime, by: timedelta) -> datetime:
    """Return the time by the clock on the wall, which may have been set forward meanwhile."""
    return (start.replace(tzinfo=None) + by).replace(tzinfo=start.tzinfo)
