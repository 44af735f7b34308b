"""Clears what copies began in a further store and nobody will finish.

Whatever a copy begins has a folder of journals on this host, until its manifest is written.
"""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from three_backup.catalog.catalog import Catalog
from three_backup.keeping import removal
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.s3.journal import begun
from three_backup.s3.multipart import abort_unknown, keys_of_open_uploads
from three_backup.s3.upload import abandon
from three_backup.sources.jobs import Say


def clear_begun(target: Catalog, carrier: Carrier, now: datetime, say: Say) -> list[str]:
    """Clear what is not listed of a carrier; return the snapshots whose copies were given up.

    The caller holds the carrier's lock, and has copied all that the store lacks and would keep.
    Removals that were cut short go on, too.
    """
    folder = target.local.journals(carrier)
    given_up = []
    for inner in sorted(folder.iterdir()) if folder.is_dir() else ():
        snapshot = SnapshotId.parse(inner.name)
        if snapshot is None or removal.is_removal(inner):
            continue
        if target.bucket.size(layout.manifest_key(carrier, snapshot)) is None:
            _give_up(target, carrier, snapshot, inner)
            given_up.append(str(snapshot))
    removal.clear_unfinished(target, carrier, now, say)
    return given_up


def _give_up(target: Catalog, carrier: Carrier, snapshot: SnapshotId, journals: Path) -> None:
    """Abort the uploads and delete the data; the folder of journals goes last."""
    for upload in begun(journals):
        if removal.is_ours(target, upload):
            abandon(target.bucket, upload.journal)
    folder = f"{layout.data_folder(carrier, snapshot)}/"
    for key in keys_of_open_uploads(target.bucket, folder):  # of a copy by the server
        abort_unknown(target.bucket, key)
    target.bucket.delete_folder(folder)
    with suppress(OSError):  # it has journals of an earlier configuration
        journals.rmdir()
