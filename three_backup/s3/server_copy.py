"""Has a server that holds two buckets copy a key between them, so that no byte passes us."""

from concurrent.futures import ThreadPoolExecutor

from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.s3 import lock, multipart
from three_backup.s3.client import THREADS
from three_backup.s3.failures import explained, lacking
from three_backup.s3.store import Store

_PIECE = 256 << 20
"""Bytes that one request copies: a server answers only once it is done."""

_PARTS = 1000


def is_one_server(source: Storage, target: Storage) -> bool:
    """Return whether one server holds both, and knows us by the same keys there.

    What the source held at another moment it copies no more.
    """
    return _login(source) == _login(target) and source.as_of is None


def server_copy(source: Store, target: Store, key: str, size: int, piece: int = _PIECE) -> None:
    """Copy a key of the source to the same key of the target, and compare the sizes.

    Raises RefusedError where the server does not do that, MissingError if there is no such key.
    """
    target.refuse_foreign(key)
    if size <= piece:
        with lock.writing(target.storage, key) as locked:
            chosen = multipart.storage_class(target)
            named = {**target.names(key), **chosen, **locked}
            target.client.copy_object(**named, CopySource=source.names(key))
    else:
        _copy_by_parts(source, target, key, size, max(piece, -(-size // _PARTS)))
    if target.size(key) != size:
        raise BackupError(
            "s3.incomplete",
            f"{target.place(key)}: the server did not copy all of it",
            "the next run copies it again",
        )


def _copy_by_parts(source: Store, target: Store, key: str, size: int, piece: int) -> None:
    multipart.abort_unknown(target, key)  # what a copy left that was killed
    upload_id = multipart.begin(target, key)

    def copied(offset: int) -> str:
        last = min(offset + piece, size) - 1
        with explained(target.storage, key):
            answer = target.client.upload_part_copy(
                **target.names(key),
                UploadId=upload_id,
                PartNumber=offset // piece + 1,
                CopySource=source.names(key),
                CopySourceRange=f"bytes={offset}-{last}",
            )
        etag = answer.get("CopyPartResult", {}).get("ETag", "").strip('"')
        if not etag:
            raise lacking(target.storage, key, "ETag for a part")
        return str(etag)

    try:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="copy") as pool:
            etags = dict(enumerate(pool.map(copied, range(0, size, piece)), 1))
        multipart.complete(target, key, upload_id, etags)
    except BackupError:
        multipart.abort(target, key, upload_id)
        raise


def _login(storage: Storage) -> tuple[str | None, ...]:
    return storage.endpoint, storage.region, storage.access_key, storage.secret_key
