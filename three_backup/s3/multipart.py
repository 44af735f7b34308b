"""The requests of a multipart upload, as functions of a store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from three_backup.errors import BackupError, UnreachableError
from three_backup.s3 import lock
from three_backup.s3.client import content_md5
from three_backup.s3.failures import MissingError, explained, lacking
from three_backup.s3.meanings import DENIED
from three_backup.s3.seal import Seal
from three_backup.s3.store import Store


class ListedTwiceError(BackupError):
    """The server lists a part number twice; which of the two it would use is unknown."""


@dataclass(frozen=True, slots=True)
class ListedPart:
    """A part as the server has it."""

    size: int
    etag: str  # without quotes; mostly, but not always, the MD5 in hex


def begin(store: Store, key: str) -> str:
    """Begin an upload and return its id."""
    with lock.writing(store.storage, key) as locked:
        named = {**store.names(key), **storage_class(store), **locked}
        answer = store.client.create_multipart_upload(**named)
    upload_id = answer.get("UploadId")
    if not upload_id:
        raise lacking(store.storage, key, "id for the multipart upload")
    if answer["ResponseMetadata"].get("RetryAttempts"):
        abort_unknown(store, key, upload_id)  # the answer to an earlier try was lost
    return str(upload_id)


def send_part(
    store: Store, key: str, upload_id: str, number: int, body: bytearray, seal: Seal
) -> str:
    """Send a part and return its ETag, without quotes."""
    with explained(store.storage, key):
        answer = store.client.upload_part(
            **store.names(key),
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            **seal.parameters,
        )
    if seal.contradicts(answer.get("ChecksumSHA256")):
        raise damaged(store, key, number)
    if "ETag" in answer:
        return _plain(answer["ETag"])
    arrived = parts(store, key, upload_id).get(number)  # a proxy may have dropped the header
    if arrived is None or not arrived.etag:
        raise lacking(store.storage, key, f"ETag for part {number}")
    return arrived.etag


def damaged(store: Store, key: str, number: int) -> BackupError:
    """Return the failure of a part of which the answer says that other bytes arrived."""
    return BackupError(
        "s3.damaged",
        f"{store.place(key)}: part {number} did not arrive as it was sent",
        "the next run sends it again",
    )


def send_whole(store: Store, key: str, body: bytearray, md5: bytes) -> str:
    """Store a key by a single request and return its ETag, without quotes."""
    with lock.writing(store.storage, key) as locked:
        named = {**store.names(key), **storage_class(store), **locked}
        answer = store.client.put_object(**named, Body=body, ContentMD5=content_md5(md5))
    if "ETag" in answer:
        return _plain(answer["ETag"])
    with explained(store.storage, key):
        return _plain(store.client.head_object(**store.names(key)).get("ETag", ""))


def parts(store: Store, key: str, upload_id: str) -> dict[int, ListedPart]:
    """Return the parts that arrived, by number.

    Raises MissingError if the upload does not exist, and ListedTwiceError.
    """
    found: dict[int, ListedPart] = {}
    listed: dict[str, Any] = {"UploadId": upload_id}
    while True:
        with explained(store.storage, key):
            answer = store.client.list_parts(**store.names(key), **listed)
        for part in answer.get("Parts", ()):
            if part["PartNumber"] in found:
                raise ListedTwiceError(
                    "s3.listed_twice",
                    f"{store.place(key)}: the server has part {part['PartNumber']} twice",
                )
            found[part["PartNumber"]] = ListedPart(part["Size"], _plain(part.get("ETag", "")))
        marker = answer.get("NextPartNumberMarker")
        if not answer.get("IsTruncated") or not marker:
            return found
        listed["PartNumberMarker"] = marker


def complete(store: Store, key: str, upload_id: str, etags: Mapping[int, str]) -> None:
    """Join the parts into the key. Raises MissingError if the upload does not exist."""
    named = [{"PartNumber": number, "ETag": f'"{etags[number]}"'} for number in sorted(etags)]
    with explained(store.storage, key):
        store.client.complete_multipart_upload(
            **store.names(key), UploadId=upload_id, MultipartUpload={"Parts": named}
        )


def abort(store: Store, key: str, upload_id: str) -> None:
    """Abort an upload; one that does not exist was aborted already."""
    try:
        with explained(store.storage, key):
            store.client.abort_multipart_upload(**store.names(key), UploadId=upload_id)
    except MissingError:
        return


def let_go(store: Store, key: str, upload_id: str) -> bool:
    """Abort an upload; return whether this access key may, else the bucket's lifecycle has to."""
    try:
        abort(store, key, upload_id)
    except BackupError as error:
        if error.code != DENIED.code:
            raise
        return False
    return True


def abort_unknown(store: Store, key: str, known: str | None = None) -> None:
    """Abort every upload of the key but the known one, as far as the server lists them."""
    for upload_id in open_uploads(store, key):
        if upload_id != known:
            let_go(store, key, upload_id)


def open_uploads(store: Store, key: str) -> list[str]:
    """Return the ids of the uploads of a key; none if the server or a policy hides them."""
    full = store.names(key)["Key"]
    listed: dict[str, Any] = {"Bucket": store.storage.bucket, "Prefix": full}
    try:
        with explained(store.storage, key):
            answer = store.client.list_multipart_uploads(**listed)
    except UnreachableError:
        raise
    except BackupError:
        return []
    return [found["UploadId"] for found in answer.get("Uploads", ()) if found["Key"] == full]


def keys_of_open_uploads(store: Store, prefix: str) -> list[str]:
    """Return the keys below prefix for which an upload is open, as far as the server lists them.

    Not every server does, and a policy may hide them.
    """
    start, full = len(store.names("")["Key"]), store.names(prefix)["Key"]
    listed: dict[str, Any] = {"Bucket": store.storage.bucket, "Prefix": full}
    found: list[str] = []
    more = True
    while more:
        try:
            with explained(store.storage, prefix):
                answer = store.client.list_multipart_uploads(**listed)
        except UnreachableError:
            raise
        except BackupError:
            break
        found += [upload["Key"][start:] for upload in answer.get("Uploads", ())]
        more = bool(answer.get("IsTruncated") and answer.get("NextKeyMarker"))
        listed["KeyMarker"] = answer.get("NextKeyMarker")
        listed["UploadIdMarker"] = answer.get("NextUploadIdMarker") or ""
    return found


def storage_class(store: Store) -> dict[str, str]:
    chosen = store.storage.storage_class
    return {"StorageClass": chosen} if chosen else {}


def _plain(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')  # a proxy that compresses makes it weak
