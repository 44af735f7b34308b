"""All that is archived of a cluster's WAL in a store and in those that hold copies of it."""

from contextlib import suppress

from three_backup.errors import BackupError
from three_backup.sources.postgres.wal.archive import Contents, Reached, WalArchive
from three_backup.sources.postgres.wal.names import Piece


def all_contents(archive: WalArchive) -> Contents:
    """Return what lies in the archive, and what only its spares hold.

    One that cannot be read is left out: if something is missing, that is told.
    """
    contents = archive.contents()
    for spare in archive.store.spares.stores:
        with suppress(BackupError):
            contents = _joined(contents, WalArchive(spare, archive.carrier).contents())
    return contents


def all_pieces(archive: WalArchive, timeline: int, start: int, end: int) -> list[Piece]:
    """Return the timeline's pieces from start to end, and those that only spares hold; sorted."""
    found = {piece: piece for piece in archive.pieces(timeline, start, end)}
    for spare in archive.store.spares.stores:
        with suppress(BackupError):
            others = WalArchive(spare, archive.carrier).pieces(timeline, start, end)
            found = {piece: piece for piece in others} | found
    return sorted(found.values())


def furthest_known(archive: WalArchive) -> Reached | None:
    """Return how far the archive is known to be complete, by a spare's note where it has none."""
    noted = archive.reached()
    for spare in archive.store.spares.stores if noted is None else ():
        with suppress(BackupError):
            noted = noted or WalArchive(spare, archive.carrier).reached()
    return noted


def _joined(first: Contents, other: Contents) -> Contents:
    pieces = {piece: piece for piece in (*other.pieces, *first.pieces)}
    return Contents(
        sorted(pieces.values()),
        {**other.histories, **first.histories},
        first.reached or other.reached,
    )
