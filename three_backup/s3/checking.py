"""The hash by which a store checks the parts that it receives, proved by an upload of our own.

A SHA-256 costs a third of an MD5 where the processor helps, and nothing where it is known already.
But a store may pass over it, and then nothing would tell that a part was damaged on its way. So it
is sent only to a store that has refused a wrong one and taken the right one. To every other store
goes an MD5, and its answer, which mostly is the MD5 of what arrived, is compared.
"""

import hashlib

from three_backup.errors import BackupError, UnreachableError
from three_backup.s3 import meanings, multipart
from three_backup.s3.seal import Check, Proof, Seal
from three_backup.s3.store import Store

_BODY = b"three_backup"
_RIGHT, _WRONG = hashlib.sha256(_BODY).digest(), hashlib.sha256(b"another").digest()
_MD5 = hashlib.md5(_BODY, usedforsecurity=False).digest()


def prove(store: Store, key: str, upload_id: str) -> Proof:
    """Return how the store proves to check parts; by MD5 if it proves nothing else.

    The upload, which holds small parts then, must be aborted.
    """
    by_sha256 = (Check.SIGNED, Check.CHECKSUM)
    for number, check in enumerate(by_sha256, 1):
        refused = _refusal(store, key, upload_id, number, Seal(check, _WRONG))
        if refused == meanings.DAMAGED.code and not _refusal(
            store, key, upload_id, number, Seal(check, _RIGHT)
        ):
            return Proof(check)
    sealed, last = Seal(Check.MD5, _MD5), len(by_sha256) + 1
    etag = multipart.send_part(store, key, upload_id, last, bytearray(_BODY), sealed)
    return Proof(Check.MD5, tells_md5=etag == _MD5.hex())


def end(store: Store, key: str, upload_id: str) -> bool:
    """Abort the upload of a proof; return False if this access key may not.

    Then a small key is made of it, under the name: one upload left open by each run would add up.
    """
    if multipart.let_go(store, key, upload_id):
        return True
    etag = multipart.send_part(store, key, upload_id, 1, bytearray(_BODY), Seal(Check.MD5, _MD5))
    multipart.complete(store, key, upload_id, {1: etag})
    return False


def _refusal(store: Store, key: str, upload_id: str, number: int, seal: Seal) -> str | None:
    """Send a part; return the code of the error, None if there is none."""
    try:
        multipart.send_part(store, key, upload_id, number, bytearray(_BODY), seal)
    except UnreachableError:
        raise
    except BackupError as error:
        return error.code
    return None
