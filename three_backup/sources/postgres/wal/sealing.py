"""Encrypts pieces of archived WAL; a header tells them from plain ones, and names the key."""

from three_backup.errors import BackupError
from three_backup.model.encryption import Demand, Purpose, cipher_of
from three_backup.model.storage import Storage

_MAGIC = b"TBE\x01"
"""How an encrypted piece begins, and no frame of zstd."""

_NAME_BYTES = 8


def sealed(body: bytes, storage: Storage, place: str) -> bytes:
    """Return the body as S3 shall have it. place: its prefix and key."""
    keys = storage.encryption_key
    if keys is None:
        return body
    name = keys.writes.key
    cipher = keys.cipher(name, Purpose.WAL, place)
    return _MAGIC + bytes.fromhex(name) + cipher.seal(body, 0, last=True)


def opened(body: bytes, storage: Storage, place: str, where: str) -> bytes:
    """Return the body of a piece as it was. where: names it in errors.

    Raises NoKeyError, TamperedError, and BackupError for a plain one where that may not be.
    """
    if not body.startswith(_MAGIC):
        if storage.encryption is Demand.REQUIRED:
            raise BackupError(
                "encryption.plain",
                f"{where}: this piece of WAL is not encrypted, and encryption is required",
                "if it is older than the key, write encryption: optional to restore it; else find "
                "out who writes to the bucket",
            )
        return body
    start = len(_MAGIC) + _NAME_BYTES
    name = body[len(_MAGIC) : start].hex()
    cipher = cipher_of(storage.encryption_key, name, Purpose.WAL, place, where)
    return cipher.open(memoryview(body)[start:], 0, last=True)
