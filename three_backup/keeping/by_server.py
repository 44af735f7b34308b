"""Copies files between two buckets of one server: each is read and compared, then copied there."""

from collections.abc import Callable, Iterable

from three_backup.catalog.catalog import Catalog
from three_backup.keeping import locked
from three_backup.keeping.sending import Sent, sent_files
from three_backup.model import layout
from three_backup.model.snapshots import Manifest, StoredFile
from three_backup.s3.server_copy import is_one_server, server_copy
from three_backup.s3.volumes import is_volume_of
from three_backup.screen.progress import Transfer


def can_copy(source: Catalog, target: Catalog, manifest: Manifest) -> bool:
    """Return whether the keys of a snapshot may lie in the target as they lie in the source.

    What is encrypted counts for one prefix and one key. What an upload through us began goes on.
    """
    of, to = source.storage, target.storage
    writes = to.encryption_key.writes if to.encryption_key else None
    journals = target.local.journals(manifest.carrier, manifest.snapshot)
    return (
        is_one_server(of, to)
        and manifest.encrypted == writes
        and (writes is None or of.prefix == to.prefix)
        and not any(journals.glob("*.journal"))
    )


def copy_volumes(
    source: Catalog,
    target: Catalog,
    manifest: Manifest,
    read: Callable[[StoredFile], Iterable[bytes]],
    progress: Transfer,
) -> Sent:
    """Copy the files of a snapshot, then its manifest.

    read: yields a file, each piece checked. Where it raises DamagedError, nothing of the file is
    copied.
    """
    carrier, snapshot = manifest.carrier, manifest.snapshot
    folder = f"{layout.data_folder(carrier, snapshot)}/"
    here, there = (
        {found.key: found.size for found in catalog.bucket.keys(folder)}
        for catalog in (source, target)
    )
    resumed = 0
    for file in sent_files(manifest):
        key = layout.data_key(carrier, snapshot, file.name)
        volumes = [found for found in here if is_volume_of(key, found)]
        lacking = [volume for volume in volumes if there.get(volume) != here[volume]]
        if volumes and not lacking:
            resumed += manifest.in_s3(file)
            progress.resumed(file.size)
            continue
        for body in read(file):
            progress(len(body))
        for volume in lacking:
            server_copy(source.bucket, target.bucket, volume, here[volume])
    written = locked.commit(target, manifest)
    return Sent(sum(map(manifest.in_s3, sent_files(manifest))) + written, resumed)
