"""Jobs for a source, one class for each kind of work."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from three_backup.config.settings import Settings
from three_backup.model.hashed_stream import HashedRange
from three_backup.model.moment import Moment
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.s3.store import Store

Advance = Callable[[int], None]
"""A callable that takes the number of bytes moved since its last call."""

Say = Callable[[str], None]
"""A callable that takes a sentence for people to read: a warning, never a failure."""


class SnapshotFiles(Protocol):
    """The files of one stored snapshot, from this host or from S3, whichever has them whole."""

    @property
    def manifest(self) -> Manifest: ...

    def read(self, name: str) -> bytes:
        """Return a small file whole, its sha256 checked against the manifest."""

    def read_range(
        self, name: str, offset: int, length: int, pieces: Sequence[HashedRange] = ()
    ) -> bytes:
        """Return exactly length bytes, in which each piece has its hash; the rest is unchecked.

        What one copy lacks or has damaged comes from another. Raises BackupError where no copy
        has it whole or can be reached.
        """

    def place(self, name: str) -> str:
        """Return `local` where the file is read from this host, else `s3`."""


@dataclass(frozen=True, kw_only=True)
class SnapshotJob:
    """One snapshot to take."""

    carrier: Carrier
    snapshot: SnapshotId
    parent: SnapshotFiles | None  # the snapshot to add to; None takes a base
    settings: Callable[[ObjectId], Settings]  # of any object
    source_settings: Settings
    program: str  # for the manifest
    host: str  # for the manifest
    advance: Advance
    say: Say
    # The settings that may hold for objects below an id that cannot be listed.
    settings_below: Callable[[str], Sequence[Settings]] = lambda prefix: ()
    expect: Advance = lambda size: None  # takes the approximate bytes to move, where known


@dataclass(frozen=True, kw_only=True)
class FolderJob(SnapshotJob):
    """A snapshot for a folder of this host."""

    directory: Path  # exists, is empty, and is to be filled with data files (not the manifest)


@dataclass(frozen=True, kw_only=True)
class DirectJob(SnapshotJob):
    """A snapshot that a server writes to S3."""

    store: Store  # everything goes below `layout.data_folder` of the snapshot
    # For notes on what the server was asked to do. A folder in it that is named like a snapshot is
    # removed once the manifest of that snapshot is stored.
    journals: Path


@dataclass(frozen=True, slots=True)
class ClearJob:
    """Snapshots of a carrier that a direct source began and never finished, to be cleared."""

    carrier: Carrier
    journals: Path  # those of the carrier's DirectJobs
    store: Store
    before: datetime  # younger ones stay, since the next take() may finish them


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to restore."""

    object: ObjectId
    target: ObjectId  # the id it shall have; equals object for a restore in place


@dataclass(frozen=True, slots=True)
class Landing:
    """A moment between snapshots, found in the log of a server."""

    snapshot: SnapshotId  # a restore begins with it
    stop: Mapping[str, Any]  # where it ends, in words of the source


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file of an administrator's statements."""

    name: str  # as it was given, for messages
    text: str


@dataclass(frozen=True, slots=True)
class RestoreJob:
    """Objects of one carrier to restore from one snapshot."""

    wanted: Sequence[Wanted]
    chain: Sequence[SnapshotFiles]  # the base first, the wanted snapshot last
    overwrite: bool  # replace what has a target's id
    source_settings: Settings
    work_dir: Path  # where temporary folders may be made
    advance: Advance
    say: Say
    options: Mapping[str, Any] = field(default_factory=dict)  # the source's own (`owner`, `check`)
    at_source: bool = False  # the wanted snapshot is an existing point, alone in the chain
    landing: Landing | None = None  # the moment to restore; None: that of the snapshot
    store: Store | None = None  # holds the log of which the landing tells
    verify: bool = False  # have the server's own program compare all bytes before they are used
    # Runs where the snapshot was revived, in each database, before rows leave that. Only sources
    # whose `runs_sql` says so get one.
    sql_before: SqlFile | None = None
    expect: Advance = lambda size: None  # takes the bytes to read, as soon as they are known
    # Entered for that part of the work which one restore at a time does; where the source lets
    # jobs overlap, the next one waits for it, and has its turn while this one is checked.
    turn: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True, slots=True)
class Room:
    """The room on this host for snapshots that are put together there. Sizes in bytes."""

    folder: Path
    free: int
    last_base: int | None  # what the newest base takes; None: not known


@dataclass(frozen=True, slots=True)
class CheckJob:
    """A server to check."""

    source_settings: Settings
    now: datetime
    room: Room | None = None  # None: nothing of the source is put on this host, or nobody asked


@dataclass(frozen=True, slots=True)
class CopyJob:
    """A snapshot that a server wrote to S3, to copy into another store."""

    manifests: Sequence[Manifest]  # of its chain, the base first; its parents were copied
    source: Store
    target: Store
    settings: Settings


@dataclass(frozen=True, slots=True)
class CopiedKey:
    """A key of a copy."""

    key: str  # in both stores, relative to the prefix
    size: int  # bytes
    body: bytes | None = None  # what the copy holds; None: what the source holds


@dataclass(frozen=True, slots=True)
class LogCopyJob:
    """The log of a carrier's server, to copy into another store."""

    carrier: Carrier
    source: Store
    target: Store
    manifests: Sequence[Manifest]  # of the snapshots in the target, oldest first


@dataclass(frozen=True, slots=True)
class LogJob:
    """A carrier whose server's log is in S3: what it logged between snapshots."""

    carrier: Carrier
    store: Store
    manifests: Sequence[Manifest]  # of the snapshots that can be restored, oldest first


@dataclass(frozen=True, slots=True)
class MomentJob:
    """A moment to find."""

    carrier: Carrier
    store: Store
    manifests: Sequence[Manifest]  # of the snapshots that can be restored, oldest first
    moment: Moment
    # Returns a job that revives a landing, to look at what was there. It wants no object.
    revive: Callable[[Landing], RestoreJob]


@dataclass(frozen=True, slots=True)
class WholeJob:
    """A whole server to restore as files from one snapshot."""

    chain: Sequence[SnapshotFiles]  # the base first, the wanted snapshot last
    directory: Path  # absolute; absent or empty; to be filled
    moved: Mapping[str, str]  # new places of folders outside of directory, by their old places
    owner: str | None  # the user who shall own all files; None lets the source choose
    source_settings: Settings
    advance: Advance
    say: Say
    landing: Landing | None = None  # as for a RestoreJob
    store: Store | None = None
    exact: bool = False  # no other moment than that of the landing will do
    verify: bool = False  # as for a RestoreJob


@dataclass(frozen=True, slots=True)
class DrillJob:
    """Objects of one carrier, for a drill to prove that they can be restored."""

    objects: Sequence[CarriedObject]
    chain: Sequence[SnapshotFiles]  # as S3 has it
    content: bool  # hash every row, too
    # Marks what is made at a live server, so that the next drill of this host can clear what a
    # killed one left.
    name: str
    source_settings: Settings
    work_dir: Path  # as for a RestoreJob
    advance: Advance
    say: Say
    landing: Landing | None = None  # as for a RestoreJob
    store: Store | None = None
