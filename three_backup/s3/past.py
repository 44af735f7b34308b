"""A bucket as it was at a moment: older versions of what was overwritten or deleted since."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from itertools import count, groupby
from operator import itemgetter
from typing import Any

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3.failures import explained, place
from three_backup.s3.meanings import MISSING, MissingError

_REMEMBERED = 1000
"""So many keys are remembered with their versions: a pack is read piece by piece."""

Found = Mapping[str, Any]
"""A version as ListObjectVersions has it."""


class Past:
    """The requests that read, of a client, answered by the versions of a moment.

    A read costs a listing of the key's versions before, once. Threads may share it.
    """

    def __init__(self, client: Any, storage: Storage, moment: datetime) -> None:
        self._client = client
        self._storage = storage
        self._moment = moment
        self._numbers = count(1)
        self._begun: dict[str, Iterator[dict[str, Any]]] = {}  # listings, by token
        self._versions: dict[str, Found | None] = {}

    def list_objects_v2(self, **asked: Any) -> Mapping[str, Any]:
        """Answer as the client would have; the token is one of ours."""
        pages = self._begun.pop(asked.pop("ContinuationToken", ""), None) or self._pages(**asked)
        answer = next(pages)
        if answer["IsTruncated"]:
            token = str(next(self._numbers))
            self._begun[token] = pages
            answer["NextContinuationToken"] = token
        return answer

    def head_object(self, **asked: Any) -> Mapping[str, Any]:
        found = self._version(asked["Bucket"], asked["Key"])
        return {"ContentLength": found["Size"], "ETag": found.get("ETag", "")}

    def get_object(self, **asked: Any) -> Mapping[str, Any]:
        version = self._version(asked["Bucket"], asked["Key"])["VersionId"]
        answer: Mapping[str, Any] = self._client.get_object(**asked, VersionId=version)
        return answer

    def _version(self, bucket: str, key: str) -> Found:
        """Return the version of the key. Raises MissingError if it did not exist then."""
        if key not in self._versions:
            if len(self._versions) >= _REMEMBERED:
                self._versions.clear()
            self._versions[key] = self._looked_up(bucket, key)
        found = self._versions[key]
        if found is None:
            where = f"s3://{bucket}/{key}"
            raise MissingError(MISSING.code, f"{where}: it did not exist then", MISSING.hint)
        return found

    def _looked_up(self, bucket: str, key: str) -> Found | None:
        for answer in self._pages(Bucket=bucket, Prefix=key):
            for found in answer["Contents"]:
                return found if found["Key"] == key else None
        return None

    def _pages(self, **options: Any) -> Iterator[dict[str, Any]]:
        """Yield the keys of the moment, page by page; one may be empty."""
        self._require_versions()
        after = options.pop("StartAfter", "")
        if after:
            options["KeyMarker"] = after
        last: list[Found] = []  # versions and markers of the last key: the next page may have more
        more = True
        while more:
            answer = self._client.list_object_versions(**options)
            contents: list[Found] = []
            for key, group in groupby(_entries(answer), key=itemgetter("Key")):
                if last and last[0]["Key"] != key:
                    contents += self._newest(last)
                    last = []
                last += group if key > after else ()
            more = bool(answer.get("IsTruncated"))
            contents += () if more else self._newest(last)
            options["KeyMarker"] = answer.get("NextKeyMarker", "")
            options["VersionIdMarker"] = answer.get("NextVersionIdMarker", "")
            beside = answer.get("CommonPrefixes", ())
            yield {"Contents": contents, "CommonPrefixes": beside, "IsTruncated": more}

    def _newest(self, found: list[Found]) -> list[Found]:
        """Return the version of a key at the moment; nothing if it did not exist then.

        found: the newest first. Times are in whole seconds; in one of them a version goes before a
        deletion, unless that is the last of all.
        """
        then = [each for each in found if each["LastModified"] <= self._moment]
        newest = max(then, key=itemgetter("LastModified"), default=None)
        return [newest] if newest is not None and "Size" in newest else []

    def _require_versions(self) -> None:
        if not self._keeps_versions:
            raise BackupError(
                "s3.no_versions",
                f"{place(self._storage)}: the bucket keeps no versions, so that nothing is left "
                "of what was overwritten or deleted",
                "copies in a further store may be left: tb-list --stored --store NAME",
            )

    @cached_property
    def _keeps_versions(self) -> bool:
        """Whether the bucket keeps, or kept, versions; believed if we may not see it."""
        try:
            with explained(self._storage):
                answer = self._client.get_bucket_versioning(Bucket=self._storage.bucket)
        except UnreachableError:
            raise
        except BackupError:
            return True
        return bool(answer.get("Status"))


def _entries(answer: Mapping[str, Any]) -> list[Found]:
    """Return the versions and the delete markers of an answer by key, the newest first.

    What has no size is a marker.
    """
    every = [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]
    every.sort(key=itemgetter("LastModified", "IsLatest"), reverse=True)
    return sorted(every, key=itemgetter("Key"))
