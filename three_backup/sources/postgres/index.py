"""What a cluster snapshot holds, file by file: the values that backup writes and restore reads.

A pack is a file of independent zstd frames. A group is one logical stream, the contents of some
files one after another, cut into frames that lie in one pack; a relation's files make a group of
their own, so that a table is fetched by ranged reads of its frames alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from three_backup.model.objects import ObjectId

INDEX = "index.zst"
BACKUP_MANIFEST = "backup_manifest.zst"
CONFIGURATION = "configuration.zst"


class Place(StrEnum):
    """Where a relation's bytes may lie; its class. In order of strictness, the loosest first."""

    CORE = "core"
    S3 = "s3"
    LOCAL = "local"
    NONE = "none"

    @property
    def pack(self) -> str:
        """The data file; nothing is ever packed for NONE."""
        return f"{self.value}.pack"


class Form(StrEnum):
    """How a file stands in a snapshot."""

    FULL = "full"  # the whole file is stored
    BLOCKS = "blocks"  # the server's INCREMENTAL file with changed blocks is stored
    UNCHANGED = "unchanged"  # an INCREMENTAL file without blocks; nothing is stored
    SAME = "same"  # a whole file, byte for byte the one of the parent snapshot; nothing is stored
    LEFT_OUT = "left_out"  # its place is NONE; nothing is stored, size and blocks are known


@dataclass(frozen=True, slots=True)
class Frame:
    """offset, stored: where in the pack, bytes; raw: bytes after decompression;
    sha256: of the stored bytes."""

    offset: int
    stored: int
    raw: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """frames: none where place is NONE (its table turned out to be disabled)."""

    place: Place
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the data directory.

    path: relative, without `INCREMENTAL.`; size: bytes as the server sent it (12 and more for an
    INCREMENTAL file); crc32c: of these bytes; group, offset: where its bytes begin, offset in the
    group's raw stream, None where nothing is stored (of an empty file, which is FULL, too);
    blocks: the file's length in blocks after an increment was applied (BLOCKS, UNCHANGED, which
    are twelve bytes long and can be made again from it); digest: blake2b of a small whole file,
    by which the next increment recognises it.
    """

    path: str
    form: Form
    place: Place
    size: int
    crc32c: int
    group: int | None = None
    offset: int = 0
    blocks: int | None = None
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """objects: the relation files (`base/5/16391`, no segment, no fork) that an id may have had
    while the snapshot was taken, before and after, toast and indexes included. Disabled objects
    are named too, and those that came, went or were renamed meanwhile: what is certain to be in
    the snapshot stands in its manifest. directories: of the data directory, empty ones too.
    tablespaces: oid and location of each extra tablespace."""

    files: dict[str, File]
    groups: tuple[Group, ...]
    objects: dict[ObjectId, tuple[str, ...]]
    directories: tuple[str, ...] = ()
    tablespaces: dict[int, str] = field(default_factory=dict)
