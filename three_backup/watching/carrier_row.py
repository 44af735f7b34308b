"""The words and the colour for a carrier in a table."""

from three_backup.screen.terminal import Colour
from three_backup.watching.health import Chain, Level
from three_backup.watching.overview import WatchedCarrier

_COLOURS = {Level.OK: Colour.GREEN, Level.WARNING: Colour.YELLOW, Level.CRITICAL: Colour.RED}


def is_expected(watched: WatchedCarrier) -> bool:
    """Return whether the carrier is still to be backed up."""
    return not watched.gone and not watched.disabled


def colour(watched: WatchedCarrier) -> Colour | None:
    return _COLOURS[watched.health.level] if is_expected(watched) else None


def state(watched: WatchedCarrier) -> str:
    if watched.gone:
        return "gone"
    return "off" if watched.disabled else watched.health.level.name.lower()


def links(chain: Chain | None) -> str:
    if chain is None:
        return "-"
    return f"base+{chain.increments}" if chain.increments else "base"
