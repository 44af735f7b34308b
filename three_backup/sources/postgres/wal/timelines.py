"""Timelines of a cluster: which WAL follows which after a failover or a restore."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from three_backup.errors import BackupError
from three_backup.sources.postgres.wal.names import history_name, position

_LINE = re.compile(r"\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", re.ASCII)


class Leg(NamedTuple):
    """The part of a way that runs on one timeline."""

    timeline: int
    start: int  # position at which the timeline begins
    end: int | None  # position at which the way leaves it; None: it does not


@dataclass(frozen=True, slots=True)
class Way:
    """The WAL that leads from the beginning of a cluster onto a timeline."""

    legs: tuple[Leg, ...]  # the oldest first

    @property
    def timeline(self) -> int:
        """Return the timeline that it leads to."""
        return self.legs[-1].timeline

    def passes(self, timeline: int, position: int) -> bool:
        """Tell whether the way passes this position of this timeline."""
        return any(
            leg.timeline == timeline
            and leg.start <= position
            and (leg.end is None or position <= leg.end)
            for leg in self.legs
        )

    def at(self, position: int) -> int:
        """Return the timeline on which the way passes what follows the position."""
        return next(
            (leg.timeline for leg in self.legs if leg.end is None or position < leg.end),
            self.timeline,
        )

    def from_(self, position: int) -> Iterator[Leg]:
        """Yield the legs that lie after the position, the first one only as far as it does."""
        for leg in self.legs:
            if leg.end is None or position < leg.end:
                yield leg._replace(start=max(leg.start, position))


def way_to(timeline: int, histories: Mapping[int, bytes]) -> Way:
    """Return the way to a timeline.

    histories: the history files, by timeline. A first timeline has none. Raises BackupError if the
    file is missing or malformed.
    """
    if timeline not in histories:
        if timeline == 1:
            return Way((Leg(1, 0, None),))
        raise BackupError(
            "postgres.no_history",
            f"the archive lacks {history_name(timeline)}, which tells where that timeline begins",
            "run tb-wal pull, or tb-wal push with the file's path in the server's pg_wal",
        )
    legs, start = [], 0
    for number, end in _switches(timeline, histories[timeline]):
        legs.append(Leg(number, start, end))
        start = end
    return Way((*legs, Leg(timeline, start, None)))


def known_way_to(timeline: int, histories: Mapping[int, bytes]) -> tuple[Way, str | None]:
    """Return the way to a timeline, and what is wrong with its history file.

    Without the file the way begins with the timeline.
    """
    try:
        return way_to(timeline, histories), None
    except BackupError as error:
        return Way((Leg(timeline, 0, None),)), str(error)


def _switches(timeline: int, history: bytes) -> Iterator[tuple[int, int]]:
    for line in history.decode("utf-8", "replace").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None or int(found[1]) >= timeline:
            raise BackupError(
                "postgres.bad_history", f"{history_name(timeline)} in the archive is malformed"
            )
        yield int(found[1]), position(found[2])
