"""Days, weeks, months and years of the calendar, and the newest moment in each. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from enum import StrEnum


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"  # of ISO 8601: it begins on Monday
    MONTH = "month"
    YEAR = "year"

    def of(self, time: datetime, zone: tzinfo) -> str:
        """Return the name of the period in which time lies: 2026-11-23, 2026-W48, 2026-11, 2026.

        Names of days are unique, as are those of weeks and so on.
        """
        day = _day(time, zone)
        match self:
            case Period.DAY:
                return day
            case Period.WEEK:
                year, week, _ = datetime.fromisoformat(day).isocalendar()
                return f"{year:04}-W{week:02}"
            case Period.MONTH:
                return day[:7]
            case Period.YEAR:
                return day[:4]


def newest_of_each(
    newest_first: Iterable[datetime], period: Period, most: int, zone: tzinfo
) -> Iterator[tuple[datetime, str]]:
    """Yield the newest time of each of the last periods that have one, with the period's name.

    most: of how many periods. A period without any does not count.
    """
    found: set[str] = set()
    for time in newest_first if most else ():
        name = period.of(time, zone)
        if name in found:
            continue
        found.add(name)
        yield time, name
        if len(found) == most:
            return


def _day(time: datetime, zone: tzinfo) -> str:
    try:
        return time.astimezone(zone).date().isoformat()
    except OverflowError:  # a forged name: the zone has no year before 1 or after 9999
        return time.date().isoformat()
