"""Which keys are needed to decrypt what lies in S3, by the beginnings of the manifests there."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from three_backup.catalog.cache import ManifestCache
from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.encryption import EncryptionKeys
from three_backup.model.findings import Finding, bad, good, note
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.model.veil import BEGINNING, key_named
from three_backup.screen.formats import counted
from three_backup.sources import SOURCES

_MOST = 500
"""So many manifests are asked for at most; those that this host remembers cost nothing."""

_THREADS = 8
_Place = tuple[Carrier, SnapshotId]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many snapshots in S3 need each key."""

    needed: Counter[str]  # by the name of the key
    plain: int  # how many are not encrypted
    unread: int  # how many were not looked at


def findings(catalog: Catalog) -> Iterator[Finding]:
    """Tell whether what is written is encrypted, and which keys what is stored needs."""
    storage = catalog.storage
    if storage.encryption_key is None:
        sentence = "whoever may read the bucket can read what is stored there"
        yield note("encryption", sentence, "encryption_key_file has it encrypted")
        return
    try:
        yield from _of_keys(storage.encryption_key, _use(catalog))
    except BackupError as error:
        yield bad("encryption", error)
    if storage.manifest_key is None:
        yield note(
            "encryption",
            "whoever may write to the bucket can put manifests of their own there, unencrypted",
            "manifest_key_file has ours signed",
        )


def _of_keys(keys: EncryptionKeys, use: KeyUse) -> Iterator[Finding]:
    first, *_ = keys.names
    told = [f"key {first} encrypts"]
    told += [
        f"{counted(use.needed[name], 'snapshot')} in S3 need{'s' * (use.needed[name] == 1)} {name}"
        for name in keys.names
        if use.needed[name]
    ]
    told += [f"nothing in S3 needs {name}" for name in keys.names[1:] if not use.needed[name]]
    told += [f"{counted(use.plain, 'snapshot')} there without any"] if use.plain else []
    told += [f"{counted(use.unread, 'snapshot')} not looked at"] if use.unread else []
    yield good("encryption", ", ".join(told))
    for name in use.needed.keys() - set(keys.names):
        error = BackupError(
            "encryption.no_key",
            f"{counted(use.needed[name], 'snapshot')} in S3 cannot be restored without key {name}",
            "add that key to encryption_key_file, below the others",
        )
        yield bad("encryption", error)


def _use(catalog: Catalog) -> KeyUse:
    places: list[_Place] = [
        (carrier, stored.id)
        for source in SOURCES
        for carrier in catalog.carriers(source.type)
        for stored in catalog.snapshots(carrier)
        if stored.s3
    ]
    cache = ManifestCache(catalog.storage)
    remembered = [beginning for place in places if (beginning := cache.beginning(*place))]
    asked = [place for place in places if not cache.holds(*place)]
    with ThreadPoolExecutor(_THREADS) as pool:
        read = list(pool.map(partial(_beginning, catalog), asked[-_MOST:]))
    names = [key_named(beginning) for beginning in (*remembered, *read)]
    needed = Counter(name for name in names if name is not None)
    return KeyUse(needed, names.count(None), len(places) - len(names))


def _beginning(catalog: Catalog, place: _Place) -> bytes:
    return catalog.bucket.read_range(layout.manifest_key(*place), 0, BEGINNING)
