"""The terminal: how wide it is, and whether it shows colours."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

_USUAL = 80


class Colour(StrEnum):
    """Terminal codes for colours; coloured text is as wide as plain text."""

    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    FAINT = "2"


@dataclass(frozen=True, slots=True)
class Screen:
    """The lines that a text is written for."""

    width: int | None = None  # how many characters fit; None for no limit
    coloured: bool = False


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def columns(stream: TextIO | None, environ: Mapping[str, str]) -> int | None:
    """Return how many characters fit a line; None without a terminal. $COLUMNS wins."""
    given = environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given):
        return int(given)
    if stream is None or not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    except OSError:
        return _USUAL


def is_coloured(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Return whether to use colours. Any NO_COLOR but an empty one says no: https://no-color.org."""
    return is_terminal(stream) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def painted(text: str, colour: Colour | None, *, coloured: bool) -> str:
    return f"\033[{colour}m{text}\033[0m" if colour and coloured else text
