"""All that the page shows, but for the snapshots of each carrier."""

from collections.abc import Sequence
from dataclasses import dataclass

from three_backup.deciding.due import Clock
from three_backup.watching.health import Level
from three_backup.watching.last_run import LastRun
from three_backup.watching.overview import WatchedCarrier


@dataclass(frozen=True, slots=True)
class Standing:
    """How everything stands."""

    host: str
    clock: Clock
    level: Level
    watched: Sequence[WatchedCarrier] = ()  # the worst first
    of_the_run: Sequence[str] = ()  # sentences on what is wrong with the runs themselves
    last: LastRun | None = None
    patterns: Sequence[str] = ()  # what was selected; empty: everything
    unknown: str | None = None  # why nothing is known of the carriers
