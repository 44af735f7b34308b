"""Shows how the carriers of every host stand."""

from collections.abc import Sequence
from datetime import datetime

from three_backup.screen import formats
from three_backup.screen.terminal import painted
from three_backup.watching.carrier_row import colour, is_expected, links, state
from three_backup.watching.every_host import OfHost
from three_backup.watching.health import Level

_HEADING = ("STATE", "HOST", "CARRIER", "BASE", "INCR", "IN S3", "CHAIN")
_AGES = frozenset({3, 4, 5})
_USUAL_WIDTH = 78


def headline(level: Level, found: Sequence[OfHost], others: Sequence[str], now: datetime) -> str:
    """Return the line for Nagios. others: what is wrong besides the carriers."""
    troubles = [*(told for one in found for told in one.troubles), *others]
    if not troubles and not found:
        text = "no snapshot of any host is known"
    elif troubles:
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        text = f"{troubles[0]}{more}"
    else:
        text = _all_is_well(found, now)
    return f"{level.name} - {text.replace('|', '/')}\n"


def table(
    found: Sequence[OfHost],
    others: Sequence[str],
    now: datetime,
    width: int | None,
    *,
    coloured: bool,
) -> str:
    """Return a line for each carrier, then all that is wrong in sentences."""

    def paint(row: int, line: str) -> str:
        return painted(line, colour(found[row - 1].watched) if row else None, coloured=coloured)

    rows = [_row(one, now) for one in found]
    shown = formats.table([_HEADING, *rows], _AGES, width, paint) if found else ""
    troubles = [*(told for one in found for told in one.troubles), *others]
    lines = [formats.wrapped(trouble, width or _USUAL_WIDTH) for trouble in troubles]
    return "\n".join((f"\n{shown}", *lines)) + ("\n" if lines else "")


def _row(one: OfHost, now: datetime) -> Sequence[str]:
    health = one.watched.health
    times = health.base, health.incremental, health.uploaded
    ages = (formats.age(time, now) for time in times)
    return state(one.watched), one.host, one.watched.carrier, *ages, links(health.chain)


def _all_is_well(found: Sequence[OfHost], now: datetime) -> str:
    expected = [one for one in found if is_expected(one.watched)]
    chains = (one.watched.health.chain for one in expected)
    oldest = min((chain.newest for chain in chains if chain), default=None)
    objects = formats.counted(sum(len(one.watched.objects) for one in expected), "object")
    hosts = formats.counted(len({one.host for one in expected}), "host")
    old = formats.age(oldest, now)
    return f"{objects} of {hosts} backed up, every last snapshot at most {old} old"
