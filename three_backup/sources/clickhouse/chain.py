"""Where the links of a chain lie in S3 now, and where their `.backup` files say they lie."""

from collections.abc import Iterator, Sequence

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.snapshots import Manifest
from three_backup.s3.store import Store
from three_backup.sources.clickhouse import sql, stored
from three_backup.sources.clickhouse.attempt import folder_key, links
from three_backup.sources.clickhouse.options import place_of


def folders(manifests: Sequence[Manifest]) -> list[str]:
    """Return the key of each manifest's folder, in the same order."""
    return [
        folder_key(manifest.carrier, links(manifest.facts)[-1].folder) for manifest in manifests
    ]


def places(store: Store, manifests: Sequence[Manifest], settings: Settings) -> list[sql.S3Folder]:
    return [place_of(store, folder, settings) for folder in folders(manifests)]


def outdated(
    store: Store, manifests: Sequence[Manifest], settings: Settings, about: str
) -> Iterator[tuple[str, bytes]]:
    """Yield key and right content of each `.backup` that looks for its base in a wrong place.

    RESTORE takes from us only the place of the newest link's base. Deeper places it reads in
    `.backup`, which is out of date if the bucket was moved or is reached another way.
    Raises BackupError if such a file is another host's: those are never changed.
    """
    inner_links = zip(
        folders(manifests)[1:-1], places(store, manifests, settings)[:-2], strict=True
    )
    for folder, base in inner_links:
        body = stored.manifest(store, folder, about)
        said = stored.base_of(body)
        if said == base.shown:
            continue
        if store.storage.read_only:
            raise _spelt_otherwise(about, said, base)
        yield f"{folder}/{stored.MANIFEST}", stored.rebased(body, base)


def _spelt_otherwise(about: str, said: str, base: sql.S3Folder) -> BackupError:
    return BackupError(
        "clickhouse.elsewhere",
        f"{about}: an older link of the chain looks for its base at {said}, which is {base.shown} "
        "by the configuration here, and what another host wrote is never changed",
        "set s3_endpoint, s3_bucket, s3_addressing_style and clickhouse_named_collection as the "
        "other host does, or restore a base with --snapshot",
    )
