"""The words for what lies in an archive of WAL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from three_backup.sources.postgres.wal.names import Piece


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the archive is known to be complete."""

    timeline: int
    lsn: int  # position
    at: datetime  # by the server's clock: what was committed until then lies before lsn
    segment_size: int  # bytes, of the cluster's segments


@dataclass(frozen=True, slots=True)
class Contents:
    """All that lies in an archive, but for the WAL itself."""

    pieces: Sequence[Piece]  # sorted
    histories: Mapping[int, bytes]  # the history files, by timeline
    reached: Reached | None

    @property
    def newest_timeline(self) -> int | None:
        """The timeline that the server is on, as far as the archive knows."""
        noted = () if self.reached is None else (self.reached.timeline,)
        ended = (piece.timeline for piece in self.pieces[-1:])
        return max((*self.histories, *ended, *noted), default=None)
