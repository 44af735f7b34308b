"""Segments put together out of the pieces of the archive."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from three_backup.errors import BackupError
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.coverage import fewest
from three_backup.sources.postgres.wal.names import Piece, Segment, lsn
from three_backup.sources.postgres.wal.timelines import Way


class Assembly:
    """The segments of a way, of which the archive has so many pieces. Threads may share it."""

    def __init__(
        self, archive: WalArchive, pieces: Iterable[Piece], way: Way, segment_size: int
    ) -> None:
        self._archive = archive
        self._way = way
        self._size = segment_size
        self._pieces: dict[int, list[Piece]] = {}
        for piece in sorted(pieces):
            self._pieces.setdefault(piece.start // segment_size, []).append(piece)

    def segment(self, segment: Segment, end: int | None = None) -> bytearray | None:
        """Return the segment, with zeros for what is missing at its end; None if it is not there.

        end: the position after which there shall be zeros; None takes all. Raises BackupError
        where something is missing in the middle, or a piece is damaged.
        """
        content, reach = bytearray(self._size), segment.start
        stored = self._on_the_way(segment)
        for part in fewest(stored, segment.start, segment.start + self._size):
            at = part.start - segment.start
            content[at : at + part.size] = self._archive.read(stored[part])[: part.size]
            reach = part.end
        behind = min((part.start for part in stored if part.start > reach), default=None)
        if behind is not None and (end is None or end > reach):
            raise BackupError(
                "postgres.wal_gap",
                f"{self._archive.place}: WAL from {lsn(reach)} to {lsn(behind)} is missing on "
                f"timeline {segment.timeline}",
                "restore to a moment before it, or from a snapshot after it",
            )
        if reach == segment.start or (end is not None and end <= segment.start):
            return None
        if end is not None and end < reach:
            content[end - segment.start :] = bytes(segment.start + self._size - end)
        return content

    def _on_the_way(self, segment: Segment) -> Mapping[Piece, Piece]:
        """Return the pieces of the segment, by what of each lies on the way.

        What lies before the beginning of a timeline may be stored as the timeline's before it, and
        an old primary may have written more into the same piece.
        """
        ends = {leg.timeline: leg.end for leg in self._way.legs}
        found = {}
        for piece in self._pieces.get(segment.start // self._size, ()):
            end = ends.get(piece.timeline)
            if piece.timeline == segment.timeline:
                found[piece] = piece
            elif piece.timeline < segment.timeline and end is not None and piece.start < end:
                found[replace(piece, end=min(piece.end, end))] = piece
        return found
