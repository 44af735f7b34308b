"""Reads what is encrypted in S3, and refuses what should have been."""

from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.checked_file import DamagedError
from three_backup.model.encryption import Demand, Encrypted, Purpose, TamperedError, cipher_of
from three_backup.model.snapshots import Manifest, StoredFile
from three_backup.model.storage import Storage
from three_backup.s3.download import PIECE, read_range
from three_backup.s3.store import Store

_AT_ONCE = PIECE + PIECE // 64
"""Bytes that one request asks for: no second one for what encryption adds to a range."""


def read_encrypted(
    store: Store,
    manifest: Manifest,
    encrypted: Encrypted,
    stored: StoredFile,
    offset: int,
    length: int,
) -> bytes:
    """Return bytes of a data file, as they were before they were encrypted.

    Raises NoKeyError, and DamagedError where they are not those that were written there.
    """
    key = layout.data_key(manifest.carrier, manifest.snapshot, stored.name)
    where = f"{manifest.carrier}: snapshot {manifest.snapshot}: {stored.name}"
    keys, place = store.storage.encryption_key, store.signed_as(key)
    cipher = cipher_of(keys, encrypted.key, Purpose.DATA, place, where)
    span, size = encrypted.span(offset, length, stored.size), encrypted.stored(stored.size)
    volume_size = stored.volume_size or max(size, 1)
    start, count = span.start, span.length
    sealed = read_range(store, key, volume_size, size, start, count, _AT_ONCE)
    try:
        body = b"".join(cipher.opened(sealed, encrypted.piece, span.first, span.pieces))
    except TamperedError as error:
        raise DamagedError(
            "snapshot.damaged",
            f"{where} is damaged, or somebody else put it there: its bytes from "
            f"{span.first * encrypted.piece} on cannot be decrypted",
            "restore another snapshot with --snapshot; tb-list --snapshots names them",
        ) from error
    asked = body if len(body) == length else body[span.within : span.within + length]
    if len(asked) != length:
        raise BackupError(
            "s3.range",
            f"{where}: bytes {offset} to {offset + length} reach beyond its {stored.size}",
        )
    return asked


def refuse_plain(storage: Storage, manifest: Manifest) -> None:
    """Raise BackupError where only what is encrypted may be taken from S3."""
    if storage.encryption is Demand.REQUIRED:
        raise BackupError(
            "encryption.plain",
            f"{manifest.carrier}: snapshot {manifest.snapshot} is not encrypted in S3, and "
            "encryption is required",
            "if it is older than the key, write encryption: optional to restore it; else find out "
            "who writes to the bucket",
        )
