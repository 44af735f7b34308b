"""What of a volume is in S3 already, by the journal of an earlier run and by the server."""

from dataclasses import dataclass, field

from three_backup.s3 import multipart
from three_backup.s3.failures import MissingError
from three_backup.s3.journal import Journal, SentPart, Volume
from three_backup.s3.multipart import ListedPart, ListedTwiceError
from three_backup.s3.reader import Part
from three_backup.s3.store import Store
from three_backup.s3.volumes import volume_key


@dataclass(frozen=True, slots=True)
class Standing:
    """Nothing, an open upload with the parts that arrived, or the complete key.

    sent: of these parts, what the journal knows; listed: what the server has.
    """

    upload_id: str | None = None
    listed: dict[int, ListedPart] = field(default_factory=dict)
    sent: dict[int, SentPart] = field(default_factory=dict)
    complete: bool = False

    def arrived(self, number: int, part: Part) -> SentPart | None:
        """The part as it is in S3; None if that is another one, or none.

        An ETag that is not the MD5 (encrypted buckets, R2) proves the part only together with
        the journal's word on what was sent when it was answered.
        """
        listed, sent = self.listed.get(number), self.sent.get(number)
        if listed is None or listed.size != part.size:
            return None
        md5 = part.md5().hex()
        known = listed.etag == md5 or (
            sent is not None and (sent.md5, sent.etag) == (md5, listed.etag)
        )
        return SentPart(part.size, md5, listed.etag) if known else None


def standing(store: Store, journal: Journal, number: int) -> Standing:
    """How far the volume came. What cannot be continued is dropped: here it begins anew."""
    volume = journal.volumes.get(number)
    if volume is None:
        return Standing()
    key = volume_key(journal.plan.key, number)
    try:
        if volume.upload_id is not None and not volume.complete:
            listed = multipart.parts(store, key, volume.upload_id)
            return Standing(volume.upload_id, listed, dict(volume.parts))
    except ListedTwiceError:
        return drop(store, journal, number)
    except MissingError:
        pass  # it may have been completed and the answer lost: the key will tell
    if volume.parts and store.size(key) == volume.size:
        return Standing(None, _as_listed(volume), dict(volume.parts), complete=True)
    return drop(store, journal, number)


def drop(store: Store, journal: Journal, number: int) -> Standing:
    """Give up what there is of a volume, which no manifest names yet."""
    key = volume_key(journal.plan.key, number)
    give_up(store, key, journal.volumes[number])
    store.delete([key])  # or a later run could take an old volume of the same size for the new one
    journal.dropped(number)
    return Standing()


def give_up(store: Store, key: str, volume: Volume) -> None:
    """The upload of a volume that is not complete."""
    if volume.opening:
        multipart.abort_unknown(store, key)
    elif volume.upload_id is not None and not volume.complete:
        multipart.abort(store, key, volume.upload_id)


def _as_listed(volume: Volume) -> dict[int, ListedPart]:
    return {number: ListedPart(sent.size, sent.etag) for number, sent in volume.parts.items()}
