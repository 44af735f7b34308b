"""Small documents in S3, signed where signatures count."""

from collections.abc import Mapping

from three_backup.s3.store import Store


def write(store: Store, key: str, body: bytes, condition: Mapping[str, str] | None = None) -> None:
    """Store a JSON object on one line. condition: as of Store.write."""
    keyring = store.storage.manifest_key
    signed = body if keyring is None else keyring.signed(body, store.signed_as(key))
    store.write(key, signed, condition)


def is_genuine(store: Store, key: str, body: bytes) -> bool:
    """Return whether a key of ours signed the document for its place, or signatures do not count.

    What is wrong with one that is not is nobody's fault but of whoever else may write there.
    """
    keyring = store.storage.manifest_key
    return keyring is None or keyring.is_genuine(body, store.signed_as(key))
