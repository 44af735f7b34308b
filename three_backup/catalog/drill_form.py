"""How drills lie in S3: under the ids of their objects, or encrypted under names that hide these.

A key can be set, changed or taken out later, so an object is looked for under each of its names.
"""

from three_backup.model import layout
from three_backup.model.encryption import NoKeyError, TamperedError
from three_backup.model.signing import plain
from three_backup.model.veil import unveiled, veiled
from three_backup.s3.store import Store


def folders(store: Store, object_id: str) -> tuple[str, ...]:
    """Return the folders in which drills of an object may lie; what is new goes to the first."""
    keys, legible = store.storage.encryption_key, layout.path(object_id)
    if keys is None:
        return (legible,)
    hidden = keys.hidden(object_id)
    return (*hidden, legible) if store.storage.hides_names else (legible, *hidden)


def body(store: Store, key: str, document: bytes) -> bytes:
    """Return a drill as S3 shall have it, unsigned."""
    keys = store.storage.encryption_key
    if keys is None or not store.storage.hides_names:
        return document
    return veiled(document, keys, store.signed_as(key))


def document(store: Store, key: str, found: bytes) -> bytes:
    """Return a drill as it was; empty if it cannot be decrypted, and so proves nothing."""
    try:
        return unveiled(plain(found), store.storage.encryption_key, store.signed_as(key), key)
    except (NoKeyError, TamperedError):
        return b""
