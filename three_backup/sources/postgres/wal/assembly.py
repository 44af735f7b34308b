"""Segments put together out of the pieces of the archive."""

from collections.abc import Iterable, Sequence

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
        candidates = self._on_the_way(segment)
        for piece in fewest(candidates, segment.start, segment.start + self._size):
            at = piece.start - segment.start
            content[at : at + piece.size] = self._archive.read(piece)
            reach = piece.end
        behind = min((piece.start for piece in candidates if piece.start > reach), default=None)
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

    def _on_the_way(self, segment: Segment) -> Sequence[Piece]:
        ends = {leg.timeline: leg.end for leg in self._way.legs}
        return [
            piece
            for piece in self._pieces.get(segment.start // self._size, ())
            if piece.timeline == segment.timeline
            or (
                piece.timeline < segment.timeline
                and (end := ends.get(piece.timeline)) is not None
                and piece.start < end
            )
        ]
