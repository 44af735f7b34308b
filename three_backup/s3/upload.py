"""Send a file or a stream as numbered volumes, and carry on where an earlier run stopped.

A finished part is never trusted: the stream is read again, and a part is skipped only if its hash
is that of the part on the server. A volume that differs is sent anew.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from three_backup.errors import BackupError
from three_backup.s3 import checking, multipart
from three_backup.s3.client import THREADS
from three_backup.s3.failures import MissingError
from three_backup.s3.journal import Journal, Plan, SentPart, forget, read
from three_backup.s3.reader import Known, Part, PartReader, Readable, nothing_known
from three_backup.s3.seal import Check, Proof, Seal
from three_backup.s3.senders import Senders
from three_backup.s3.standing import Standing, drop, give_up, remove, standing
from three_backup.s3.store import Store
from three_backup.s3.volumes import PART_SIZE, PARTS, is_volume_of


class SourceChangedError(BackupError):
    """The stream is not the one that an earlier run began to send, or has not the given size.

    The next call sends the volume in question from its beginning.
    """


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that was uploaded."""

    size: int  # bytes of the whole file
    volume_size: int  # bytes of each volume but the last, for the manifest
    volumes: int
    resumed: int  # bytes that were in S3 already


def upload(
    store: Store,
    key: str,
    source: Readable,
    size: int | None,
    journal: Path,
    advance: Callable[[int], None],
    part_size: int = PART_SIZE,
    threads: int = THREADS,
    parts: int = PARTS,
    resume: Callable[[int], None] | None = None,
    known: Known = nothing_known,
    *,
    whole: bool = False,
) -> Uploaded:
    """Send all of source, which stands at its beginning, as the volumes of key.

    size: bytes to come; None if unknown.
    journal: a file ending in `.journal`, the same in every call for this key.
    advance: told of bytes sent; resume: told of bytes found in S3, default: advance. Any thread
    may call them.
    known: tells the SHA-256 of what was read, if source hashes it anyway.
    whole: store it as the key itself, for others to read; part_size times parts must suffice.
    part_size: bytes, at least 5 MiB; an upload that has begun keeps its own. parts: per volume.
    Memory: threads + 1 parts.

    Raises BackupError, also as SourceChangedError, and what reading source raises. After a failure
    open uploads and the journal stay for the next call. After success the journal stays, too:
    forget(journal) once the manifest that names the file is written.
    """
    plan = Plan(str(store.storage.bucket), store.storage.prefix, key, part_size, parts, whole)
    with (
        Journal(journal, plan) as begun,
        Senders(threads, begun.plan.part_size) as senders,
    ):
        reader = PartReader(source, known)
        sending = _Upload(store, begun, reader, senders, size, advance, resume or advance)
        number = 1
        while sending.store_volume(number):
            number += 1
        sending.drop_volumes_after(number)
        return Uploaded(reader.offset, begun.plan.volume_size, number, sending.resumed)


def abandon(store: Store, journal: Path) -> None:
    """Abort the uploads that the journal names, delete the volumes of its key, and forget it.

    For an upload that nobody will finish: the caller has made sure that no manifest names it.
    """
    written = read(journal)
    if written is not None:
        plan = written.plan
        if (plan.bucket, plan.prefix) != (store.storage.bucket, store.storage.prefix):
            raise BackupError(
                "s3.other_bucket",
                f"{journal}: this upload went to s3://{plan.bucket}/{plan.prefix}",
                "use a configuration that names this bucket and prefix",
            )
        for number, volume in written.volumes.items():
            give_up(store, plan.volume(number), volume)
        found = [stored.key for stored in store.keys(f"{plan.key}.")]
        volumes = [key for key in found if is_volume_of(plan.key, key)]
        remove(store, [*volumes, plan.key] if plan.whole else volumes)
    forget(journal)


class _DiffersError(Exception):
    """The stream differs from the volume in S3."""


@dataclass(slots=True)
class _Upload:
    store: Store
    journal: Journal
    reader: PartReader
    senders: Senders
    size: int | None
    advance: Callable[[int], None]
    resume: Callable[[int], None]
    resumed: int = 0
    _lock: Lock = field(default_factory=Lock)
    _etags_are_md5: bool = False

    def store_volume(self, number: int) -> bool:
        """Store a volume; return whether the stream goes on after it."""
        start, resumed = self.reader.offset, self.resumed
        try:
            return self._store(number, standing(self.store, self.journal, number))
        except _DiffersError:
            self.senders.drain()
            begins_anew = drop(self.store, self.journal, number)
            if not self.reader.can_return():
                raise self._changed("it is not the stream that an earlier run began") from None
        self.reader.return_to(start)
        self.resumed = resumed
        return self._store(number, begins_anew)

    def drop_volumes_after(self, last: int) -> None:
        """Drop the volumes that an earlier run with a longer stream left."""
        for number in [number for number in self.journal.volumes if number > last]:
            drop(self.store, self.journal, number)

    def _store(self, number: int, known: Standing) -> bool:
        """Store a volume. Raises _DiffersError if the known parts come from another stream."""
        upload_id, part_number, last = known.upload_id, 0, False
        while not last and part_number < self.journal.plan.parts:
            part_number += 1
            buffer = self.senders.buffer()
            part = self.reader.fill(buffer)
            last = part.last
            if known.complete or part_number in known.listed:
                self._skip(number, part_number, known.arrived(part_number, part))
                self.senders.give_back(buffer)
            elif last and part_number == 1 and upload_id is None:
                self._send_whole(number, part)
                self.senders.give_back(buffer)
            else:
                check = self._check()
                upload_id = upload_id or self._open(number)
                send = partial(self._send_part, number, upload_id, part_number, part, check)
                self.senders.send(buffer, send)
        if any(beyond > part_number for beyond in (*known.listed, *known.sent)):
            raise _DiffersError
        self._finish(number, upload_id, last=last)
        return not last

    def _skip(self, number: int, part_number: int, arrived: SentPart | None) -> None:
        if arrived is None:
            raise _DiffersError
        with self._lock:
            if self.journal.volumes[number].parts.get(part_number) != arrived:
                self.journal.sent(number, part_number, arrived)
            self._etags_are_md5 |= bool(arrived.md5) and arrived.etag == arrived.md5
            self.resumed += arrived.size
            self.resume(arrived.size)

    def _check(self) -> Check:
        """Return how the store checks parts; the first part of a run has it prove that."""
        if self.store.proof is None:
            unused = 1 + max(self.journal.volumes, default=0)
            self.store.proof = self._proof(unused)
        with self._lock:
            self._etags_are_md5 |= self.store.proof.tells_md5
        return self.store.proof.check

    def _proof(self, unused: int) -> Proof:
        key, upload_id = self._key(unused), self._open(unused)
        proof = checking.prove(self.store, key, upload_id)
        checking.end(self.store, key, upload_id)  # tb-check tells if this key may not abort
        self.journal.dropped(unused)
        return proof

    def _open(self, number: int) -> str:
        with self._lock:
            self.journal.opening(number)
        upload_id = multipart.begin(self.store, self._key(number))
        with self._lock:
            self.journal.opened(number, upload_id)
        return upload_id

    def _send_whole(self, number: int, part: Part) -> None:
        seal = part.seal(Check.MD5)
        etag = multipart.send_whole(self.store, self._key(number), part.body, seal.digest)
        self._record(number, 1, _sent(part, seal, etag))

    def _send_part(
        self, number: int, upload_id: str, part_number: int, part: Part, check: Check
    ) -> None:
        """Send one part, in a thread of senders."""
        key, seal = self._key(number), part.seal(check)
        etag = multipart.send_part(self.store, key, upload_id, part_number, part.body, seal)
        self._record(number, part_number, _sent(part, seal, etag))

    def _record(self, number: int, part_number: int, sent: SentPart) -> None:
        with self._lock:
            if sent.md5:
                self._compare(number, part_number, sent)
            self.journal.sent(number, part_number, sent)
            self.advance(sent.size)

    def _compare(self, number: int, part_number: int, sent: SentPart) -> None:
        is_md5 = sent.etag == sent.md5  # a server that once answers with the MD5 always does
        is_md5 = is_md5 or (self._etags_are_md5 and not sent.etag)  # a proxy dropped it
        if self._etags_are_md5 and not is_md5:
            raise multipart.damaged(self.store, self._key(number), part_number)
        self._etags_are_md5 = is_md5

    def _finish(self, number: int, upload_id: str | None, *, last: bool) -> None:
        self.senders.drain()
        if last and self.size is not None and self.reader.offset != self.size:
            raise self._changed(f"it has {self.reader.offset} bytes instead of {self.size}")
        if upload_id is not None:
            self._complete(number, upload_id)
        self.journal.completed(number)

    def _complete(self, number: int, upload_id: str) -> None:
        key, volume = self._key(number), self.journal.volumes[number]
        etags = {part_number: sent.etag for part_number, sent in volume.parts.items()}
        self.journal.sync()  # once completed, only the journal knows the hashes of the parts
        with suppress(MissingError):  # a repeated request: its first answer was lost
            multipart.complete(self.store, key, upload_id, etags)
        if self.store.size(key) != volume.size:
            raise BackupError(
                "s3.incomplete",
                f"{self.store.place(key)}: the server did not make it out of its parts",
                "the next run sends it again",
            )

    def _changed(self, how: str) -> SourceChangedError:
        return SourceChangedError(
            "s3.source_changed",
            f"{self.store.place(self.journal.plan.key)}: the source has changed, {how}",
            "the next run sends what changed again",
        )

    def _key(self, number: int) -> str:
        return self.journal.plan.volume(number)


def _sent(part: Part, seal: Seal, etag: str) -> SentPart:
    digest = seal.digest.hex()
    if seal.check is Check.MD5:
        return SentPart(part.size, digest, etag)
    return SentPart(part.size, "", etag, digest)
