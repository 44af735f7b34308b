"""Numbers and tables as people read them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from textwrap import fill, wrap

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_NARROWEST = 12
_SENTENCE = 28  # the narrowest column in which a wrapped sentence is easy to read
_DAY = 86400
_AGES = (("s", 1, 60), ("m", 60, 60), ("h", 3600, 48))
"""A unit, its seconds, and the count at which the next unit takes over."""


def size(count: int) -> str:
    """Format bytes: 1234567 becomes `1.23 MB`; units of a thousand, three digits."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Format seconds: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 days 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = timedelta(seconds=round(seconds))
    minutes, rest = divmod(whole.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if whole.days:
        return f"{whole.days} day{'s' if whole.days > 1 else ''} {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def age(time: datetime | None, now: datetime) -> str:
    """Format how long ago time was, in one unit: `40s`, `12m`, `26h`, `5d`; `-` for never."""
    if time is None:
        return "-"
    seconds = max(0, int((now - time).total_seconds()))
    for unit, length, most in _AGES:
        if seconds < most * length:
            return f"{seconds // length}{unit}"
    return f"{seconds // _DAY}d"


def counted(count: int, word: str) -> str:
    """Format a count with its word: `1 object`, `3 objects`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def wrapped(sentence: str, width: int, margin: str = "  ", further: str = "  ") -> str:
    """Wrap a sentence to width; lines after the first are further in, and ids are not broken."""
    return fill(
        sentence,
        max(width, _NARROWEST),
        initial_indent=margin,
        subsequent_indent=margin + further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def shortened(text: str, width: int) -> str:
    """Cut a long text to its end and some of its beginning: ids differ at their ends."""
    if len(text) <= width:
        return text
    head = max(0, width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def table(
    rows: Sequence[Sequence[str]],
    right: frozenset[int] = frozenset(),
    width: int | None = None,
    paint: Callable[[int, str], str] = lambda row, line: line,
    *,
    wraps: bool = False,
) -> str:
    """Format rows in columns as wide as their widest cell, two blanks apart.

    right: the numbers of right-aligned columns. width: of the lines, None for no limit; the widest
    columns are cut to fit. paint: colours a line, given the number of its row and its text.
    wraps: the last column is wrapped rather than cut.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if wraps and width is not None:
        *others, last = widths
        others = _fitting(others, width - min(last, _SENTENCE) - 2)
        widths = [*others, max(_SENTENCE, width - sum(others) - 2 * len(others))]
    else:
        widths = _fitting(widths, width)
    return "".join(
        paint(number, _line(cells, widths, right)) + "\n"
        for number, row in enumerate(rows)
        for cells in (_broken(row, widths[-1]) if wraps else [row])
    )


def _broken(row: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    """Yield a row for each line of the last cell."""
    *others, last = row
    for line, first in zip_longest(wrap(last, width) or [""], [others]):
        yield *(first or [""] * len(others)), line


def _fitting(widths: list[int], width: int | None) -> list[int]:
    """Return the widths, the widest cut until the line fits or every column is narrow."""
    room = None if width is None else width - 2 * (len(widths) - 1)
    while room is not None and sum(widths) > room and max(widths) > _NARROWEST:
        widest = widths.index(max(widths))
        widths = [column - (number == widest) for number, column in enumerate(widths)]
    return widths


def _line(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    cut = (shortened(cell, width) for cell, width in zip(row, widths, strict=True))
    cells = (
        cell.rjust(width) if number in right else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cut, widths, strict=True))
    )
    return "  ".join(cells).rstrip()
