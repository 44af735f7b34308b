"""What a source is asked to do, a value for each kind of work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from three_backup.config.settings import Settings
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.s3.store import Store

Advance = Callable[[int], None]
"""Told how many bytes were moved since it was last told."""

Say = Callable[[str], None]
"""Told a sentence that a person should read: a warning, never a failure."""


class SnapshotFiles(Protocol):
    """The files of one stored snapshot, from this host or from S3, whichever has them."""

    @property
    def manifest(self) -> Manifest: ...

    def read(self, name: str) -> bytes:
        """A small file whole, its sha256 checked against the manifest."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Exactly length bytes, not checked: the caller knows the hash of the piece.

        Raises BackupError where the file is not stored here, is too short or cannot be reached.
        """

    def place(self, name: str) -> str:
        """`local` where this host answers what is read of the file, else `s3`."""


@dataclass(frozen=True, slots=True)
class SnapshotJob:
    """One snapshot to take.

    parent: the files of the snapshot to add to; None takes a base. directory: exists, empty, to be
    filled with data files (not the manifest). settings: of any object; settings_below: that may
    hold below an id that cannot be listed. program, host: for the manifest. store: of direct
    sources, None for others, where everything goes below `layout.data_folder` of the snapshot;
    directory is then that of the carrier's journals, and what lies there in a folder named like a
    snapshot goes once the snapshot's manifest is stored. expect: told how many bytes are to be
    moved, about, where that is known beforehand.
    """

    carrier: str
    snapshot: SnapshotId
    parent: SnapshotFiles | None
    directory: Path
    settings: Callable[[ObjectId], Settings]
    source_settings: Settings
    program: str
    host: str
    advance: Advance
    say: Say
    settings_below: Callable[[str], Sequence[Settings]] = lambda prefix: ()
    store: Store | None = None
    expect: Advance = lambda size: None


@dataclass(frozen=True, slots=True)
class ClearJob:
    """What a direct source began for a carrier and no manifest came of, to be cleared away.

    journals: the directory of its SnapshotJobs. before: younger beginnings stay, since whoever
    takes the next snapshot may finish them.
    """

    carrier: str
    journals: Path
    store: Store
    source_settings: Settings
    before: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to bring back. target: the id it shall have; the same as object in place."""

    object: ObjectId
    target: ObjectId


@dataclass(frozen=True, slots=True)
class RestoreJob:
    """Objects of one carrier to bring back out of one snapshot.

    chain: the base first, the wanted snapshot last. overwrite: replace what has a target's id.
    work_dir: where temporary folders may be made. options: the source's own (`owner`, `acl`).
    store: where a direct source finds the chain; None for others. at_source: the wanted snapshot
    is a point that is there, and the chain that one alone. expect: told how many bytes are to be
    read, as soon as that is known.
    """

    wanted: Sequence[Wanted]
    chain: Sequence[SnapshotFiles]
    overwrite: bool
    source_settings: Settings
    work_dir: Path
    advance: Advance
    say: Say
    options: Mapping[str, Any] = field(default_factory=dict)
    store: Store | None = None
    at_source: bool = False
    expect: Advance = lambda size: None


@dataclass(frozen=True, slots=True)
class CheckJob:
    """A server to look at. store: of direct sources, None for others and without a bucket; what
    is written there goes below the key folder, which ends in a slash, and is deleted again."""

    source_settings: Settings
    now: datetime
    store: Store | None = None
    folder: str = ""


@dataclass(frozen=True, slots=True)
class WholeJob:
    """A whole server to bring back as files, out of one snapshot.

    chain: the base first, the wanted snapshot last. directory: absolute, absent or empty, to be
    filled. moved: where a folder outside of it shall lie now, by where it lay. owner: the user
    whose all of it shall be, None for the source's own choice.
    """

    chain: Sequence[SnapshotFiles]
    directory: Path
    moved: Mapping[str, str]
    owner: str | None
    source_settings: Settings
    advance: Advance
    say: Say


@dataclass(frozen=True, slots=True)
class DrillJob:
    """Objects of one carrier of which it is to be proved that they can be restored.

    chain: as S3 has it. content: take the hash of every row, too. name: what is made at a live
    server bears it, so that the next drill of this host can clear what a killed one left.
    work_dir, store: as for a RestoreJob.
    """

    objects: Sequence[CarriedObject]
    chain: Sequence[SnapshotFiles]
    content: bool
    name: str
    source_settings: Settings
    work_dir: Path
    advance: Advance
    say: Say
    store: Store | None = None
