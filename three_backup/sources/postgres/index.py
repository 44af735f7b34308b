"""The index of a cluster snapshot: its files, as the backup writes and the restore reads them.

A pack is a file of independent zstd frames. A group is one logical stream: the contents of some
files one after another, cut into frames that lie in one pack. An object's files make a group of
their own, so that a table is fetched by ranged reads of its frames alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from three_backup.model.hashed_stream import HashedRange
from three_backup.model.objects import ObjectId

INDEX = "index.zst"
BACKUP_MANIFEST = "backup_manifest.zst"
CONFIGURATION = "configuration.zst"


class Tier(StrEnum):
    """The place (class) where a relation's bytes may lie, ordered from loosest to strictest."""

    CORE = "core"
    S3 = "s3"
    LOCAL = "local"
    NONE = "none"

    @property
    def pack(self) -> str:
        """Return the name of the data file; nothing is ever packed for NONE."""
        return f"{self.value}.pack"


class Form(StrEnum):
    """The form in which a snapshot has a file."""

    FULL = "full"  # the whole file is stored
    BLOCKS = "blocks"  # the server's INCREMENTAL file with changed blocks is stored
    UNCHANGED = "unchanged"  # an INCREMENTAL file without blocks; nothing is stored
    SAME = "same"  # a whole file, byte for byte the one of the parent snapshot; nothing is stored
    LEFT_OUT = "left_out"  # its place is NONE; nothing is stored, size and blocks are known


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a pack. Sizes in bytes."""

    offset: int  # in the pack
    stored: int  # size in the pack
    raw: int  # size after decompression
    sha256: bytes  # of the stored bytes

    @property
    def in_pack(self) -> HashedRange:
        """The range of the pack in which it lies."""
        return HashedRange(self.offset, self.stored, self.sha256.hex())


@dataclass(frozen=True, slots=True)
class Group:
    """A group of files in one pack."""

    place: Tier
    frames: tuple[Frame, ...]  # none if place is NONE (its table turned out to be disabled)


@dataclass(frozen=True, slots=True)
class File:
    """A file of the data directory."""

    path: str  # relative, without `INCREMENTAL.`
    form: Form
    place: Tier
    size: int  # bytes that the server sent (12 and more for an INCREMENTAL file)
    crc32c: int  # of these bytes
    group: int | None = None  # None if nothing is stored (an empty FULL file, too)
    offset: int = 0  # in the group's raw stream, bytes
    # Length in blocks after the incremental is applied: of BLOCKS and UNCHANGED only. An UNCHANGED
    # file is twelve bytes long and can be made again from it.
    blocks: int | None = None
    digest: bytes | None = None  # blake2b of a small whole file; the next incremental compares it


@dataclass(frozen=True, slots=True)
class Index:
    """The index of a cluster snapshot."""

    files: dict[str, File]  # by path
    groups: tuple[Group, ...]
    # The relations (`base/5/16391`, no segment, no fork) that an id may have had while the
    # snapshot was taken, before and after, TOAST and indexes included. Disabled objects are listed
    # too, and those that were created, dropped or renamed meanwhile: the manifest lists what is
    # certainly in the snapshot.
    objects: dict[ObjectId, tuple[str, ...]]
    directories: tuple[str, ...] = ()  # of the data directory, empty ones too
    tablespaces: dict[int, str] = field(default_factory=dict)  # oid and location of extra ones
