"""Stretches and gaps of archived WAL: pure computation on a listing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from three_backup.sources.postgres.wal.names import Piece
from three_backup.sources.postgres.wal.timelines import Way


@dataclass(frozen=True, slots=True)
class Stretch:
    """WAL without a gap, along a way."""

    start: int
    end: int
    until: datetime | None  # when its last piece was stored

    def covers(self, position: int) -> bool:
        return self.start <= position <= self.end


def stretches(pieces: Iterable[Piece], way: Way) -> list[Stretch]:
    """Return the stretches of WAL along the way, the oldest first; gaps lie between them.

    At a switch the new timeline's segment repeats the old one's beginning: what counts of each
    timeline is what the way passes of it.
    """
    found: list[Stretch] = []
    for piece in _passed(pieces, way):
        last = found[-1] if found else None
        if last is not None and piece.start <= last.end:
            if piece.end > last.end:
                found[-1] = Stretch(last.start, piece.end, piece.at)
        else:
            found.append(Stretch(piece.start, piece.end, piece.at))
    return found


def stretch_at(found: Sequence[Stretch], position: int) -> Stretch | None:
    """Return the stretch that covers the position and, if possible, what follows it."""
    return next((stretch for stretch in reversed(found) if stretch.covers(position)), None)


def fewest(pieces: Iterable[Piece], start: int, end: int) -> list[Piece]:
    """Return as few pieces as cover what follows from start on without a gap, until end at most.

    They overlap: what counts of each is what follows the one before.
    """
    found, reach = [], start
    within = [piece for piece in pieces if piece.start < end]
    while reach < end:
        fitting = [piece for piece in within if piece.start <= reach < piece.end]
        if not fitting:
            break
        found.append(max(fitting, key=lambda piece: piece.end))
        reach = found[-1].end
    return found


def _passed(pieces: Iterable[Piece], way: Way) -> Iterator[Piece]:
    """Yield the part of each piece that lies on the way, in the way's order."""
    by_timeline: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_timeline.setdefault(piece.timeline, []).append(piece)
    for leg in way.legs:
        for piece in sorted(by_timeline.get(leg.timeline, ())):
            start = max(piece.start, leg.start)
            end = piece.end if leg.end is None else min(piece.end, leg.end)
            if start < end:
                yield Piece(piece.timeline, start, end, piece.stored, piece.at)
