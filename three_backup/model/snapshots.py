"""Snapshots, their ids, chains and manifests."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Self

from three_backup.errors import ManifestError, UsageError
from three_backup.model.encryption import Encrypted
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.signing import plain

MANIFEST_VERSION = 1
_ENCRYPTED_VERSION = 2
"""The version of a manifest whose data are encrypted: older programs would find them damaged."""

_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_SEAL = b',"sha256":"%s"}\n'
_SEALED = re.compile(rb',"sha256":"([^"]*)"\}\n\Z')
_STAMP = "%Y%m%dT%H%M%SZ"
_TIME = r"\d{8}T(?!24)\d{6}Z"
SNAPSHOT_ID = rf"({_TIME})-(?:base|incr-({_TIME}))"
"""Pattern, in ASCII, of the name that a snapshot is stored by.

Its groups: when the snapshot was taken, and for an incremental when its parent was.
"""
_ID = re.compile(SNAPSHOT_ID, re.ASCII)


class Kind(StrEnum):
    BASE = "base"
    INCREMENTAL = "incremental"


class SnapshotId(NamedTuple):
    """The id of a snapshot; `str()` gives the name it is stored by.

    A tuple, since half a million may be read.
    """

    # Both in aware UTC and whole seconds; no two snapshots of a carrier share a time.
    time: datetime  # when it was taken
    parent: datetime | None = None  # when its parent was taken; None for a base

    @property
    def kind(self) -> Kind:
        return Kind.BASE if self.parent is None else Kind.INCREMENTAL

    def __str__(self) -> str:
        if self.parent is None:
            return f"{stamp(self.time)}-base"
        return f"{stamp(self.time)}-incr-{stamp(self.parent)}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a stored name; None if text is not one (somebody else's file, for instance)."""
        match = _ID.fullmatch(text)
        return None if match is None else next(cls.named([match.groups()]), None)

    @classmethod
    def named(cls, pairs: Iterable[tuple[str | Any, ...]]) -> Iterator[Self]:
        """Yield the snapshots of these names, without those that have impossible times.

        pairs: the groups that SNAPSHOT_ID finds in each name. All in one call, without strptime:
        half a million may be read, which would else take twice as long.
        """
        read = datetime.fromisoformat
        for time, parent in pairs:
            try:
                taken, before = read(time), read(parent) if parent else None
            except ValueError:
                continue
            if before is None or before < taken:
                yield cls(taken, before)


class Stored(NamedTuple):
    """A complete snapshot and where it lies."""

    id: SnapshotId
    local: bool  # it lies on this host
    s3: bool  # it lies in S3


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A data file of a snapshot."""

    name: str
    size: int  # bytes
    # Of the whole file; None if an index of the snapshot holds the hashes of its pieces.
    sha256: str | None = None
    local_only: bool = False  # never uploaded: what it holds has a max_stage before S3
    volume_size: int | None = None  # bytes of each of its volumes in S3 but the last


@dataclass(frozen=True, slots=True)
class CarriedObject:
    """An object as a snapshot holds it."""

    id: ObjectId
    size: int
    # The source's own facts (kind, class), as plain JSON.
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of a snapshot, which is complete wherever its manifest lies."""

    carrier: Carrier
    snapshot: SnapshotId
    objects: tuple[CarriedObject, ...]
    files: tuple[StoredFile, ...]
    source_size: int  # bytes at the source
    stored_size: int  # bytes in the data files
    facts: Mapping[str, Any]  # the source's own
    program: str  # name and version of the program that took it
    server: str  # name and version of the server it was taken of
    host: str  # where it was taken
    encrypted: Encrypted | None = None  # how its files are, where this manifest lies

    def file(self, name: str) -> StoredFile | None:
        return next((stored for stored in self.files if stored.name == name), None)

    def in_s3(self, file: StoredFile) -> int:
        """Return how many bytes a file of it has in S3."""
        return file.size if self.encrypted is None else self.encrypted.stored(file.size)

    def to_json(self) -> bytes:
        """Encode the manifest, with a hash of itself at its end.

        The hash keeps a manifest with a byte flipped in transit out of the cache.
        """
        return _sealed(
            {
                "v": MANIFEST_VERSION if self.encrypted is None else _ENCRYPTED_VERSION,
                **({"encrypted": self.encrypted.to_json()} if self.encrypted else {}),
                "carrier": self.carrier,
                "snapshot": str(self.snapshot),
                "kind": self.snapshot.kind,
                "time": rfc3339(self.snapshot.time),
                "parent": self.snapshot.parent and rfc3339(self.snapshot.parent),
                "source_size": self.source_size,
                "stored_size": self.stored_size,
                "program": self.program,
                "server": self.server,
                "host": self.host,
                "files": [_file_to_json(stored) for stored in self.files],
                "facts": self.facts,
                "objects": [
                    {"id": str(carried.id), "size": carried.size, **carried.facts}
                    for carried in self.objects
                ],
            }
        )

    @classmethod
    def from_json(cls, body: bytes, where: str) -> Self:
        """Parse a manifest.

        Raises ManifestError, naming where, if body is damaged or not a manifest of this version.
        """
        try:
            fields = json.loads(body)
            _check_seal(body)
            if fields["v"] not in (MANIFEST_VERSION, _ENCRYPTED_VERSION):
                raise ManifestError(
                    "manifest.version",
                    f"{where}: the manifest has version {fields['v']}",
                    "read it with a newer three_backup",
                )
            snapshot = SnapshotId.parse(fields["snapshot"])
            if snapshot is None:
                raise ValueError(fields["snapshot"])
            return cls(
                carrier=Carrier(fields["carrier"]),
                snapshot=snapshot,
                objects=tuple(_carried_from_json(carried) for carried in fields["objects"]),
                files=tuple(_file_from_json(stored) for stored in fields["files"]),
                source_size=int(fields["source_size"]),
                stored_size=int(fields["stored_size"]),
                facts=_Facts(where, fields["facts"]),
                program=str(fields["program"]),
                server=str(fields["server"]),
                host=str(fields["host"]),
                encrypted=Encrypted.from_json(fields["encrypted"]) if fields["v"] > 1 else None,
            )
        except (UsageError, *_MALFORMED) as error:
            raise ManifestError(
                "manifest.malformed",
                f"{where}: this is not a manifest ({type(error).__name__}: {error})",
                "restore an older snapshot; the next base replaces it",
            ) from error


def chain(snapshots: Iterable[SnapshotId], last: SnapshotId) -> list[SnapshotId] | None:
    """Return the base, the incrementals after it and last; None if a link is missing."""
    if last.parent is None:
        return [last]
    by_time = {snapshot.time: snapshot for snapshot in snapshots}
    links = [last]
    while (parent := links[-1].parent) is not None:
        if parent not in by_time:
            return None
        links.append(by_time[parent])
    return links[::-1]


def next_time(now: datetime, newest: datetime | None) -> datetime:
    """Return the time of a new snapshot: now in whole seconds, but after the newest one."""
    now = now.astimezone(UTC).replace(microsecond=0)
    return now if newest is None or newest < now else newest + timedelta(seconds=1)


def stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime(_STAMP)


def rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exactly(time: datetime) -> str:
    """Return the time as rfc3339 does, with the microseconds that it has."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


class _Facts(dict[str, Any]):
    """The source's own facts in a manifest; a missing one raises ManifestError."""

    def __init__(self, where: str, facts: Mapping[str, Any]) -> None:
        super().__init__(facts)
        self._where = where

    def __missing__(self, name: str) -> Any:
        raise ManifestError(
            "manifest.malformed",
            f"{self._where}: the manifest lacks {name}",
            "restore an older snapshot; the next base replaces it",
        )


def _dump(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # a byte of a name that is not UTF-8


def _sealed(fields: Mapping[str, Any]) -> bytes:
    body = _dump(fields)
    digest = hashlib.sha256(body).hexdigest()
    return body.removesuffix(b"}\n") + _SEAL % digest.encode()


def _check_seal(body: bytes) -> None:
    body = plain(body)
    seal = _SEALED.search(body)
    if seal and hashlib.sha256(body[: seal.start()] + b"}\n").hexdigest() != seal[1].decode():
        raise ValueError("its sha256 is another")


def _file_to_json(stored: StoredFile) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": stored.name, "size": stored.size}
    if stored.sha256 is not None:
        fields["sha256"] = stored.sha256
    if stored.local_only:
        fields["local_only"] = True
    if stored.volume_size is not None:
        fields["volume_size"] = stored.volume_size
    return fields


def _file_from_json(fields: Mapping[str, Any]) -> StoredFile:
    name, size = fields["name"], fields["size"]
    volume_size = fields.get("volume_size")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._=-]*", name):
        raise ValueError(f"file name {name!r}")
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"size {size!r}")
    if volume_size is not None and (not isinstance(volume_size, int) or volume_size < 1):
        raise ValueError(f"volume size {volume_size!r}")
    return StoredFile(
        name, size, fields.get("sha256"), bool(fields.get("local_only")), volume_size
    )


def _carried_from_json(fields: Mapping[str, Any]) -> CarriedObject:
    facts = {name: value for name, value in fields.items() if name not in ("id", "size")}
    return CarriedObject(ObjectId.parse(fields["id"]), int(fields["size"]), facts)
