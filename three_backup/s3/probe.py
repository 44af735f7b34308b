"""Probe an S3 server with a few small keys below `check/`: does it do what we need?

Each request that a backup, a restore or a rotation makes is made once, so that a pass also proves
what the access key is allowed to do. The next probe clears away what a killed one left.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from three_backup.errors import BackupError, ConfigurationError
from three_backup.host.machine import Host
from three_backup.model.findings import Finding, Mark, bad, good, note
from three_backup.model.storage import Storage
from three_backup.s3 import checking, lasting, multipart, ownership, theft
from three_backup.s3.failures import MissingError, explained, may_not_delete
from three_backup.s3.reaching import reach
from three_backup.s3.seal import Check, Seal
from three_backup.s3.store import Store
from three_backup.s3.volumes import PARTS

FOLDER = "check/"
"""Folder of the keys of a probe, below the prefix."""

Tell = Callable[[Finding], None]

_PATIENCE = timedelta(seconds=5)
"""How long a request is repeated: a person is waiting."""

_SMALLEST_PART = 5 * 1024 * 1024
"""Bytes that every server accepts as a part that is not the last; our parts are larger."""

_BODY = b"tb-check was here\n"
_PLAIN, _WHOLE = f"{FOLDER}plain", f"{FOLDER}whole"
_ODD, _PERCENT = f"{FOLDER}=D0=B6/a.b_c-d=2E", f"{FOLDER}a%2Fb"
_OPEN = f"{FOLDER}open/"
"""Folder of keys that hold the ids of open uploads, for clear: not every server lists them."""

_ROTATE_ELSEWHERE = (
    "write max_stage: rotated_locally, and rotate from another host, see KEYS THAT CANNOT DELETE "
    "in three_backup(7)"
)
_ABORT = "let a lifecycle rule of the bucket abort incomplete uploads, see three_backup(7)"

_CHECKS = {
    Check.SIGNED: "a damaged one is refused by its SHA-256, which is in the signature",
    Check.CHECKSUM: f"a damaged one is refused by its SHA-256, in {Check.CHECKSUM.value}",
    Check.MD5: "a SHA-256 is passed over, so that each goes with its MD5, which takes more CPU",
}


def probe(storage: Storage, host: Host, clock: Callable[[], datetime], tell: Tell) -> None:
    """Tell what works and what does not, one finding after the other; leave nothing behind.

    storage: with a bucket. host: this one, to tell whether the prefix is its own.
    """
    storage = replace(storage, timeout=min(storage.timeout, _PATIENCE))
    for finding in reach(storage, FOLDER, clock):
        tell(finding)
        if finding.mark is Mark.BAD:
            return
    store = Store(storage)
    probing = _Probe(store, host)
    _try("leftovers", probing.clear, tell)
    try:
        for subject, step in probing.steps():
            _try(subject, step, tell)
    finally:
        _try("clearing up", probing.clear, tell)


def _try(subject: str, step: Callable[[], Iterator[Finding]], tell: Tell) -> None:
    try:
        for finding in step():
            tell(finding)
    except BackupError as error:
        tell(bad(subject, error))


@dataclass(slots=True)
class _Probe:
    store: Store
    host: Host

    def steps(self) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
        return [
            ("owner", self.owner),
            ("writing", self.writing),
            ("lock", lambda: lasting.lock(self.store, f"{FOLDER}locked")),
            ("versions", lambda: lasting.versions(self.store, _PLAIN)),
            ("checksums", self.checksums),
            ("parts", self.parts),
            ("ranges", self.ranges),
            ("names", self.names),
            ("listing", self.listing),
            ("multipart", self.multipart),
            ("part numbers", self.part_numbers),
            ("open uploads", self.open_uploads),
            ("conditions", self.conditions),
            ("deleting", self.deleting),
            (theft.SUBJECT, lambda: theft.theft(self.store, f"{FOLDER}theft")),
        ]

    def owner(self) -> Iterator[Finding]:
        owner = ownership.read(self.store)
        try:
            if owner is not None:
                ownership.check(self.store, owner, self.host)
        except ConfigurationError as error:
            yield note("owner", error.message, f"restoring is free; to back up, {error.hint}")
        else:
            whose = "is free" if owner is None else "belongs to this host"
            yield good("owner", f"the prefix {self.store.storage.prefix or '(none)'} {whose}")

    def writing(self) -> Iterator[Finding]:
        self.store.write(_PLAIN, _BODY)
        if self.store.read(_PLAIN) != _BODY or self.store.size(_PLAIN) != len(_BODY):
            raise _other("a key is read as it was not written")
        yield good("writing", "keys are written, read and measured")

    def checksums(self) -> Iterator[Finding]:
        md5 = hashlib.md5(_BODY, usedforsecurity=False).digest()
        etag = multipart.send_whole(self.store, _WHOLE, bytearray(_BODY), md5)
        false = hashlib.md5(b"another", usedforsecurity=False).digest()
        try:
            multipart.send_whole(self.store, _WHOLE, bytearray(_BODY), false)
        except BackupError:
            yield good("checksums", "what arrives damaged is refused")
        else:
            yield note("checksums", "Content-MD5 is not looked at: TLS alone guards what is sent")
        if etag != md5.hex():
            yield note("ETags", "they are not MD5s: a resumed upload trusts its journal and sizes")

    def parts(self) -> Iterator[Finding]:
        key = f"{FOLDER}sealed"
        upload_id = self._begin(key)
        proof = checking.prove(self.store, key, upload_id)
        checking.end(self.store, key, upload_id)
        yield good("parts", _CHECKS[proof.check])

    def ranges(self) -> Iterator[Finding]:
        if self.store.read_range(_PLAIN, 3, 5) != _BODY[3:8]:
            raise _other("a range is not what was asked for")
        yield good("ranges", "a part of a key can be read")

    def names(self) -> Iterator[Finding]:
        self.store.write(_ODD, _BODY)
        if _ODD not in {stored.key for stored in self.store.keys(FOLDER)}:
            raise _other(f"{_ODD} is not listed under its name")
        yield good("names", "every name that we give a key is stored and listed as it is")
        self.store.write(_PERCENT, _BODY)
        if _PERCENT not in {stored.key for stored in self.store.all_keys(FOLDER)}:
            yield note("names", "keys with % are listed under other names; ClickHouse has such")

    def listing(self) -> Iterator[Finding]:
        listed = {stored.key for stored in self.store.all_keys(FOLDER, at_once=1)}
        if not {_PLAIN, _WHOLE, _ODD} <= listed:
            raise _other("a list of several pages lacks keys")
        yield good("listing", "long lists are read page by page")

    def multipart(self) -> Iterator[Finding]:
        key, first, last = f"{FOLDER}parts", bytearray(os.urandom(_SMALLEST_PART)), bytearray(b"x")
        upload_id = self._begin(key)
        etags = {1: self._send(self.store, key, upload_id, 1, first)}
        resumed = Store(self.store.storage)  # as the next run would
        if set(multipart.parts(resumed, key, upload_id)) != {1}:
            raise _other("a part that arrived is not listed (ListParts)")
        etags[2] = self._send(resumed, key, upload_id, 2, last)
        multipart.complete(resumed, key, upload_id, etags)
        joint = self.store.read_range(key, _SMALLEST_PART - 1, 2)
        if self.store.size(key) != _SMALLEST_PART + 1 or joint != bytes((first[-1], last[0])):
            raise _other("a key is not made of the parts that were sent")
        listed = {stored.key: stored.size for stored in self.store.all_keys(key)}
        if listed.get(key) != _SMALLEST_PART + 1:
            raise _other("a key that was sent in parts is listed with another size")
        yield good("multipart", "parts are sent, listed, resumed and joined")

    def part_numbers(self) -> Iterator[Finding]:
        key = f"{FOLDER}many"
        upload_id = self._begin(key)
        self._send(self.store, key, upload_id, PARTS, bytearray(b"x"))
        if not checking.end(self.store, key, upload_id):
            sentence = f"{PARTS} parts are allowed; this key may not give up uploads"
            yield note("part numbers", f"{sentence}: what is cut short stays open", _ABORT)
            return
        try:
            left = multipart.parts(self.store, key, upload_id)
        except MissingError:
            left = {}
        if left:
            raise _other("an upload that was given up is still there (AbortMultipartUpload)")
        yield good("part numbers", f"{PARTS} parts are allowed, and uploads can be given up")

    def open_uploads(self) -> Iterator[Finding]:
        key = f"{FOLDER}begun"
        upload_id = self._begin(key)
        listed = upload_id in multipart.open_uploads(self.store, key)
        checking.end(self.store, key, upload_id)
        if listed:
            yield good("open uploads", "they are listed, so that none is ever forgotten")
        else:
            yield note(
                "open uploads",
                "they are not listed: one whose beginning was killed stays, and may be billed",
                "allow s3:ListBucketMultipartUploads, or let the bucket's lifecycle end them",
            )

    def conditions(self) -> Iterator[Finding]:
        try:
            with explained(self.store.storage, _PLAIN):
                self.store.client.put_object(
                    **self.store.names(_PLAIN), Body=_BODY, IfNoneMatch="*"
                )
        except BackupError:
            yield good("conditions", "If-None-Match is honoured or refused")
        else:
            sentence = (
                "If-None-Match is passed over: of two copies of this host that begin in the "
            )
            yield note("conditions", f"{sentence}same moment the next tool refuses one")

    def deleting(self) -> Iterator[Finding]:
        try:
            self._clear()
        except BackupError as error:
            if not may_not_delete(error):
                raise
            yield note("deleting", f"this key may not delete: {FOLDER} stays", _ROTATE_ELSEWHERE)
            return
        if any(True for _ in self.store.all_keys(FOLDER)):
            raise _other("keys are still listed after they were deleted")
        one_by_one = self.store.deletes_one_by_one
        yield (
            note("deleting", "DeleteObjects is not offered: keys are deleted one by one")
            if one_by_one
            else good("deleting", "a thousand keys are deleted by one request")
        )

    def clear(self) -> Iterator[Finding]:
        """Abort the uploads and delete the keys of this probe and of killed ones before it."""
        try:
            self._clear()
        except BackupError as error:
            if not may_not_delete(error):  # that is told by another step
                raise
        return iter(())

    def _clear(self) -> None:
        for stored in list(self.store.all_keys(_OPEN)):
            upload_id, _, key = self.store.read(stored.key).decode().partition(" ")
            multipart.let_go(self.store, key, upload_id)
        self.store.delete_folder(FOLDER)

    def _begin(self, key: str) -> str:
        upload_id = multipart.begin(self.store, key)
        self.store.write(_OPEN + key.removeprefix(FOLDER), f"{upload_id} {key}".encode())
        return upload_id

    def _send(self, store: Store, key: str, upload_id: str, number: int, body: bytearray) -> str:
        seal = Seal(Check.MD5, hashlib.md5(body, usedforsecurity=False).digest())
        return multipart.send_part(store, key, upload_id, number, body, seal)


def _other(sentence: str) -> BackupError:
    return BackupError(
        "s3.not_usable", sentence, "this store cannot hold backups; ask its provider"
    )
