"""How much of a volume S3 has already, by the journal of an earlier run and the server."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from three_backup.errors import BackupError
from three_backup.s3 import multipart
from three_backup.s3.failures import MissingError, may_not_delete
from three_backup.s3.journal import Journal, SentPart, VolumeProgress
from three_backup.s3.multipart import ListedPart, ListedTwiceError
from three_backup.s3.reader import Part
from three_backup.s3.store import Store

_MD5_OF_NOTHING = hashlib.md5(usedforsecurity=False).digest()


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a volume in S3: nothing, an open upload with some parts, or the whole key."""

    upload_id: str | None = None
    listed: dict[int, ListedPart] = field(default_factory=dict)  # what the server has
    sent: dict[int, SentPart] = field(default_factory=dict)  # what the journal knows
    complete: bool = False

    def arrived(self, number: int, part: Part) -> SentPart | None:
        """Return the part as it is in S3; None if S3 has another one, or none.

        The journal tells the hash of what was sent when the server answered with this ETag. Of a
        part that the journal does not know, the ETag must be the MD5.
        """
        listed, sent = self.listed.get(number), self.sent.get(number)
        if listed is None or listed.size != part.size:
            return None
        if sent is not None and sent.etag == listed.etag and _is(part, sent):
            return sent
        md5 = part.md5().hex()
        return SentPart(part.size, md5, listed.etag) if listed.etag == md5 else None


def standing(store: Store, journal: Journal, number: int) -> Standing:
    """Return what S3 has of the volume; drop a volume that cannot be continued."""
    volume = journal.volumes.get(number)
    if volume is None:
        return Standing()
    key = journal.plan.volume(number)
    try:
        if volume.upload_id is not None and not volume.complete:
            listed = multipart.parts(store, key, volume.upload_id)
            return Standing(volume.upload_id, listed, dict(volume.parts))
    except ListedTwiceError:
        return drop(store, journal, number)
    except MissingError:
        pass  # perhaps it was completed and the answer lost: the key will tell
    if volume.parts and store.size(key) == volume.size:
        return Standing(None, _as_listed(volume), dict(volume.parts), complete=True)
    return drop(store, journal, number)


def drop(store: Store, journal: Journal, number: int) -> Standing:
    """Abort and delete what S3 has of a volume; no manifest names it yet."""
    key = journal.plan.volume(number)
    give_up(store, key, journal.volumes[number])
    # Or a later run could take an old volume of the same size for the new one.
    remove(store, [key])
    journal.dropped(number)
    return Standing()


def remove(store: Store, keys: Sequence[str]) -> None:
    """Delete volumes that no manifest names; empty them where this access key may not delete."""
    try:
        store.delete(keys)
    except BackupError as error:
        if not may_not_delete(error):
            raise
        for key in keys:
            if store.size(key):
                multipart.send_whole(store, key, bytearray(), _MD5_OF_NOTHING)


def give_up(store: Store, key: str, volume: VolumeProgress) -> None:
    """Abort the upload of a volume that is not complete."""
    if volume.opening:
        multipart.abort_unknown(store, key)
    elif volume.upload_id is not None and not volume.complete:
        multipart.let_go(store, key, volume.upload_id)


def _is(part: Part, sent: SentPart) -> bool:
    if sent.sha256:
        return sent.sha256 == part.sha256().hex()
    return sent.md5 == part.md5().hex()


def _as_listed(volume: VolumeProgress) -> dict[int, ListedPart]:
    return {number: ListedPart(sent.size, sent.etag) for number, sent in volume.parts.items()}
