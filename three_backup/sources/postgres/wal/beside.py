"""All that is archived of a cluster's WAL in a store and in those that hold copies of it."""

from contextlib import suppress

from three_backup.errors import BackupError
from three_backup.sources.postgres.wal.archive import Contents, WalArchive


def all_contents(archive: WalArchive) -> Contents:
    """Return what lies in the archive, and what only its spares hold.

    One that cannot be read is left out: if something is missing, that is told.
    """
    contents = archive.contents()
    for spare in archive.store.spares.stores:
        with suppress(BackupError):
            contents = _joined(contents, WalArchive(spare, archive.carrier).contents())
    return contents


def _joined(first: Contents, other: Contents) -> Contents:
    pieces = {piece: piece for piece in (*other.pieces, *first.pieces)}
    return Contents(
        sorted(pieces.values()),
        {**other.histories, **first.histories},
        first.reached or other.reached,
    )
