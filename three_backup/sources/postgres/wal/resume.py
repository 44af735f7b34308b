"""Where archiving goes on: pure computation on what the archive and the server say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from three_backup.errors import BackupError
from three_backup.sources.postgres.wal.archive import Reached, WalArchive
from three_backup.sources.postgres.wal.coverage import stretches
from three_backup.sources.postgres.wal.names import LARGEST_PIECE, Piece
from three_backup.sources.postgres.wal.timelines import Leg, Way, way_to

PAGE = 8192
"""Bytes before the end of the archive that are compared with the server's."""


@dataclass(frozen=True, slots=True)
class Part:
    """WAL of one timeline that the archive lacks."""

    timeline: int
    start: int  # position
    end: int  # position
    last: Piece | None = None  # the piece that ends where this begins

    @property
    def checked_from(self) -> int:
        """The position from which on the server's WAL is compared with the last piece."""
        if self.last is None:
            return self.start
        return max(self.last.start, (self.start - 1) // PAGE * PAGE)


def archived_until(archive: WalArchive, reached: Reached | None, way: Way) -> int | None:
    """Return a position up to which the archive holds the way; None if it holds nothing of it.

    Not always the last one: `parts` looks what follows.
    """
    if reached is None:  # nobody has finished yet
        found = stretches(archive.pieces(), way)
        return found[-1].end if found else None
    ends: dict[int, int | None] = {reached.timeline: reached.lsn}
    if not any(leg.timeline == reached.timeline for leg in way.legs):
        ends |= {leg.timeline: leg.end for leg in _way_there(archive, reached).legs[:-1]}
    for leg in reversed(way.legs):
        end = ends.get(leg.timeline)
        if end is not None:
            return end if leg.end is None else min(end, leg.end)
    return None


def parts(archive: WalArchive, way: Way, since: int, until: int, segment_size: int) -> list[Part]:
    """Return what the archive lacks of the way from since to until, one part a timeline.

    A timeline begins with its first segment, whole, as the server has it.
    """
    found = []
    for leg in way.legs:
        end = until if leg.end is None else leg.end
        start = since if since > leg.start else leg.start // segment_size * segment_size
        if leg.end is None or since < leg.end:
            found.append(_part(archive, leg, start, end))
    return found


def _part(archive: WalArchive, leg: Leg, start: int, end: int) -> Part:
    border = max(0, (start - 1) // LARGEST_PIECE * LARGEST_PIECE)  # no piece begins before it
    last = _last(archive.pieces_since(leg.timeline, border), start)
    return Part(leg.timeline, start if last is None else last.end, end, last)


def _last(pieces: Iterable[Piece], start: int) -> Piece | None:
    """Return the piece that ends the WAL without a gap from start on; None if none follows."""
    last = None
    for piece in sorted(pieces):
        if piece.start <= start <= piece.end:
            last, start = piece, piece.end
    return last


def _way_there(archive: WalArchive, reached: Reached) -> Way:
    """Return the way to where the archive ends; without its history file, the last leg alone."""
    histories: Mapping[int, bytes] = archive.histories()
    try:
        return way_to(reached.timeline, histories)
    except BackupError:
        return Way((Leg(reached.timeline, 0, None),))
