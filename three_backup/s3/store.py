"""List, read, write and delete the keys below a prefix of a bucket."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import Any

from three_backup.errors import BackupError, ConfigurationError, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3 import listing, lock, throttle
from three_backup.s3.client import Client, connect, content_md5
from three_backup.s3.deletion import Deletion
from three_backup.s3.failures import (
    MissingError,
    explained,
    no_bucket_there,
    place,
    undeleted,
)
from three_backup.s3.listing import ListedKey
from three_backup.s3.patience import Say
from three_backup.s3.seal import Proof
from three_backup.s3.spares import Spares

OWNER = "owner.json"
"""The key that names the host which writes below a prefix; see ownership."""

_OUR_KEY = re.compile(r"[A-Za-z0-9._/=-]+")
_DELETED_AT_ONCE = 1000
_BODY_ATTEMPTS = 4
_LARGEST = 1 << 30
"""No key that is read as a whole has more bytes: whoever puts such a one there fills no memory."""
_UNSAID = frozenset({"s3.denied", "s3.failed"})
"""Codes of failures of HEAD that may be others in truth: its answers have no body."""


class Store:
    """The keys below one prefix of one bucket; every key given or returned is relative to it.

    Threads may share a Store. Every method raises BackupError with a code `s3.*`; see failures.
    Nothing is asked of the server before the first call that needs an answer.
    """

    def __init__(self, storage: Storage, say: Say = lambda _: None) -> None:
        """say: called with a sentence when the server keeps us waiting."""
        if not storage.bucket:
            raise ConfigurationError("s3.no_bucket", "no bucket is configured", "set s3_bucket")
        self.storage = storage
        self.spares: Spares[Store] = Spares()  # of what lies here, where that is damaged
        self.requests = 0  # HTTP requests so far, repeated ones included
        self._say = say
        self._counting = Lock()
        self.claimed = False  # see ownership
        self.rotates_foreign = False  # deletes keys of another host's, as tb-rotate was told
        self.proof: Proof | None = None  # see checking; None: nothing was proven yet

    @cached_property
    def client(self) -> Client:
        return connect(self.storage, self._say, self._count)

    @cached_property
    def _deletion(self) -> Deletion:
        return Deletion(self.storage, self.client, self.names)

    @property
    def deletes_one_by_one(self) -> bool:
        """Whether the server refused to delete several keys by one request."""
        return self._deletion.one_by_one

    def names(self, key: str) -> dict[str, Any]:
        """Return the parameters that name the key to botocore."""
        return {"Bucket": self.storage.bucket, "Key": self._full(key)}

    def place(self, key: str = "") -> str:
        """Return the s3:// address of the key, for a person."""
        return place(self.storage, key)

    def keys(self, prefix: str, after: str = "") -> Iterator[ListedKey]:
        """Yield every key that begins with prefix, in no order, if it is spelt as ours are.

        after: leave out the keys that sort before it, and the key itself. Not every server does.
        """
        found = self.all_keys(prefix, after=after)
        return (entry for entry in found if _OUR_KEY.fullmatch(entry.key))

    def all_keys(
        self, prefix: str, at_once: int | None = None, after: str = ""
    ) -> Iterator[ListedKey]:
        """Yield every key that begins with prefix, in no order, whoever named it.

        at_once: how many keys an answer may hold; None leaves it to the server.
        """
        start = len(self._full(""))
        options: dict[str, str | int] = {"MaxKeys": at_once} if at_once else {}
        if after:
            options["StartAfter"] = self._full(after)
        for answer in self.pages(prefix, **options):
            with explained(self.storage, prefix):
                found = listing.entries(answer)
            yield from (entry._replace(key=entry.key[start:]) for entry in found)

    def all_names(self, prefix: str) -> Iterator[str]:
        """Yield the names of all_keys, without their sizes and times."""
        start = len(self._full(""))
        for answer in self.pages(prefix):
            yield from (key[start:] for key in listing.keys(answer))

    def all_etags(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the names of all_keys with their ETags, as `listing.etags` has them."""
        start = len(self._full(""))
        for answer in self.pages(prefix):
            yield from ((key[start:], etag) for key, etag in listing.etags(answer))

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders directly in prefix, which ends in a slash."""
        start = len(self._full(prefix))
        for answer in self.pages(prefix, Delimiter="/"):
            for found in answer.get("CommonPrefixes", ()):
                yield found["Prefix"][start:].rstrip("/")

    def names_in(self, folder: str) -> Iterator[str]:
        """Yield the names of the keys directly in folder, which ends in a slash."""
        start = len(self._full(folder))
        for answer in self.pages(folder, Delimiter="/"):
            yield from (key[start:] for key in listing.keys(answer))

    def pages(self, prefix: str, **options: str | int) -> Iterator[Mapping[str, Any]]:
        """Yield the answers to a listing, up to a thousand keys each."""
        full = self._full(prefix)
        listed: dict[str, Any] = {"Bucket": self.storage.bucket, "Prefix": full, **options}
        while True:
            try:
                with explained(self.storage, prefix):
                    answer = self.client.list_objects_v2(**listed)
            except MissingError as error:
                raise no_bucket_there(self.storage) from error
            yield answer
            if not answer.get("IsTruncated"):
                return
            listed["ContinuationToken"] = self._continuation(answer, prefix)

    def read(self, key: str) -> bytes:
        """Return the whole of a small key. Raises MissingError if it does not exist."""
        return self._body(key, {}, most=_LARGEST)[0]

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly length bytes, unchecked: the caller knows their sha256."""
        if length == 0:
            return b""
        last = offset + length - 1
        body, content_range = self._body(key, {"Range": f"bytes={offset}-{last}"})
        whole = offset == 0 and not content_range
        if len(body) == length and (whole or content_range.startswith(f"bytes {offset}-{last}/")):
            return body
        raise BackupError(
            "s3.range",
            f"{self.place(key)}: the server gave {len(body)} bytes ({content_range or 'no range'})"
            f" where bytes {offset} to {last} were asked for",
            "restore an older snapshot; the next base replaces it",
        )

    def write(self, key: str, body: bytes, condition: Mapping[str, str] | None = None) -> None:
        """Store a small key, such as a manifest, in the bucket's usual storage class.

        condition: IfMatch or IfNoneMatch; not every server heeds it.
        """
        self.refuse_foreign(key)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        named = {**self.names(key), **(condition or {}), "ContentMD5": content_md5(digest)}
        with lock.writing(self.storage, key) as locked:
            self.client.put_object(**named, **locked, Body=body)

    def signed_as(self, key: str) -> str:
        """Return the place that a signature of the key's body counts for."""
        return f"{self.storage.prefix}/{key}"

    def size(self, key: str) -> int | None:
        """Return the bytes stored under the key; None if it does not exist."""
        try:
            with explained(self.storage, key):
                told = self.client.head_object(**self.names(key)).get("ContentLength")
        except MissingError:
            return None
        except BackupError as error:
            if error.code not in _UNSAID:
                raise
            return self._size_by_range(key)
        # A proxy that compresses or chunks takes the length out of an answer to HEAD.
        return int(told) if told else self._listed_size(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the keys in order, a thousand at a time; a missing key counts as deleted.

        Raises BackupError after the first thousand of which some could not be deleted.
        """
        remaining = iter(keys)
        while batch := list(islice(remaining, _DELETED_AT_ONCE)):
            if not self.rotates_foreign:
                self.refuse_foreign(batch[0])
            failures = self._deletion.delete(batch)
            if failures:
                key, why = next(iter(failures.items()))
                raise undeleted(self.storage, key, why, len(failures) - 1)

    def delete_folder(self, folder: str) -> None:
        """Delete every key below folder, which ends in a slash, those at its top first.

        A server that reads a snapshot begins at the top (ClickHouse with `.backup`), so a
        half-deleted snapshot is none.
        """
        keys = [found.key for found in self.all_keys(folder)]
        top = min((key.count("/") for key in keys), default=0)
        self.delete(key for key in keys if key.count("/") == top)
        self.delete(key for key in keys if key.count("/") > top)

    def refuse_foreign(self, key: str) -> None:
        """Raise BackupError where keys are only read: another host's, asked copies, past ones."""
        if self.storage.as_of is not None:
            raise BackupError(
                "s3.past", f"{self.place(key)}: what there was is only read", "leave out --as-of"
            )
        if self.storage.asked:
            raise BackupError(
                "s3.read_only",
                f"{self.place(key)}: store {self.storage.store} is only read here",
                f"tb-copy --to {self.storage.store} writes there",
            )
        if self.storage.foreign:
            raise BackupError(
                "s3.foreign",
                f"{self.place(key)}: the prefix is another host's and is only read",
                "to go on there, set s3_prefix in the configuration and say --adopt once",
            )

    def create_bucket(self) -> None:
        """Create the bucket, for tb-demo and tests; one that is ours already will do."""
        with explained(self.storage):
            try:
                self.client.create_bucket(Bucket=self.storage.bucket)
            except self.client.exceptions.BucketAlreadyOwnedByYou:
                return

    def _full(self, key: str) -> str:
        return f"{self.storage.prefix}/{key}" if self.storage.prefix else key

    def _count(self) -> None:
        with self._counting:
            self.requests += 1

    def _size_by_range(self, key: str) -> int | None:
        """Return the size; raise what keeps us from it, which no answer to HEAD has room for."""
        try:
            body, content_range = self._body(key, {"Range": "bytes=0-0"})
        except MissingError:
            return None
        _, _, whole = content_range.partition("/")
        return int(whole) if whole.isdecimal() else len(body)

    def _listed_size(self, key: str) -> int | None:
        return next((found.size for found in self.all_keys(key) if found.key == key), None)

    def _continuation(self, answer: Mapping[str, Any], prefix: str) -> str:
        token = answer.get("NextContinuationToken")
        if not isinstance(token, str) or not token:
            raise BackupError(
                "s3.failed", f"{self.place(prefix)}: the server broke off its list of keys"
            )
        return token

    def _body(
        self,
        key: str,
        options: Mapping[str, str],
        attempts: int = _BODY_ATTEMPTS,
        most: int | None = None,
    ) -> tuple[bytes, str]:
        """Return the body and its Content-Range.

        A body cut short is asked for again here: botocore repeats only failed requests.
        """
        with explained(self.storage, key):
            answer = self.client.get_object(**self.names(key), **options)
        if most is not None and answer.get("ContentLength", 0) > most:
            raise BackupError(
                "s3.too_large",
                f"{self.place(key)}: it has {answer['ContentLength']} bytes, and no key of its "
                "kind is so large",
                "find out who writes to the bucket",
            )
        try:
            with explained(self.storage, key):
                return throttle.read(answer["Body"]), answer.get("ContentRange") or ""
        except UnreachableError:
            if attempts == 1:
                raise
        return self._body(key, options, attempts - 1, most)
