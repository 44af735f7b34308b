"""Sort the files of a backup into groups while they stream in, and record each file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from crc32c import crc32c

from three_backup.sources.jobs import Advance
from three_backup.sources.postgres import increment
from three_backup.sources.postgres.classes import Classes, rose
from three_backup.sources.postgres.index import File, Form, Tier
from three_backup.sources.postgres.mapping import FileMap, Owner, relation_of
from three_backup.sources.postgres.taking.packing import PackWriter
from three_backup.sources.postgres.taking.tar import Member, MemberType, TarStream

PENDING = "pending.pack"
"""The temporary pack of relations that the mapping before the backup does not know."""

SMALL = 256 << 10
"""Bytes. A whole file up to this size is not stored again if it is the same in the parent."""

_DIGEST_SIZE = 16


@dataclass(slots=True)
class _Arriving:
    """A file that is being sent."""

    path: str
    size: int
    incremental: bool
    relation: str | None
    place: Tier | None  # None if the mapping before the backup does not know its relation
    group: int | None = None
    offset: int = 0
    crc32c: int = 0
    kept: list[memoryview] = field(default_factory=list)  # the whole of a small file
    header: bytearray = field(default_factory=bytearray)  # of a larger INCREMENTAL file

    @property
    def is_small(self) -> bool:
        return self.size <= SMALL

    def read_header(self, piece: memoryview) -> None:
        missing = increment.START_SIZE - len(self.header)
        if missing > 0:
            self.header += piece[:missing]
            piece = piece[missing:]
        if len(piece):
            missing = increment.header_size(self.header) - len(self.header)
            self.header += piece[:missing]


class Splitter:
    """A receiver of archive members; `files` and `directories` record what was in them.

    Each file has the place that the mapping before the backup gives it; what that mapping does
    not know waits in PENDING. settle_files() corrects places by the mapping after the backup.
    """

    def __init__(
        self, packs: PackWriter, before: FileMap, classes: Classes, parent: Mapping[str, File]
    ) -> None:
        self.files: list[File] = []
        self.directories: list[str] = []
        self._packs = packs
        self._owners = before.owners
        self._classes = classes
        self._parent = parent
        self._groups: dict[Owner | str, int] = {}
        self._file: _Arriving | None = None

    def begin(self, member: Member) -> None:
        self._file = None
        if member.type is MemberType.DIRECTORY:
            self.directories.append(member.name)
        elif member.type is MemberType.FILE:
            self._file = self._arriving(member)
            if not self._file.is_small:
                self._open_group(self._file)

    def content(self, piece: memoryview) -> None:
        file = self._file
        if file is None:
            return
        file.crc32c = crc32c(piece, file.crc32c)
        if file.is_small:
            file.kept.append(piece)
            return
        if file.incremental:
            file.read_header(piece)
        if file.group is not None:
            self._packs.write(file.group, piece)

    def end(self) -> None:
        if self._file is not None:
            small = self._file.is_small
            self.files.append(self._small(self._file) if small else self._large(self._file))

    def _arriving(self, member: Member) -> _Arriving:
        folder, slash, name = member.name.rpartition("/")
        incremental = name.startswith(increment.PREFIX)
        path = folder + slash + name.removeprefix(increment.PREFIX)
        relation = relation_of(path)
        place = Tier.CORE if relation is None else self._classes.of_relation(relation)
        return _Arriving(path, member.size, incremental, relation, place)

    def _open_group(self, file: _Arriving) -> None:
        """Assign a group: files of one object share one, and so do core files of one folder."""
        if file.place is Tier.NONE:
            return
        key: Owner | str = file.path.rpartition("/")[0]
        if file.relation is not None and file.place is not Tier.CORE:
            key = self._owners.get(file.relation) or file.relation
        if key not in self._groups:
            pack = PENDING if file.place is None else file.place.pack
            self._groups[key] = self._packs.begin_group(pack)
        file.group = self._groups[key]
        file.offset = self._packs.size(file.group)

    def _small(self, file: _Arriving) -> File:
        raw = b"".join(file.kept)
        if file.incremental:
            if increment.is_empty(raw):
                return self._noted(file, Form.UNCHANGED, increment.length_in_blocks(raw))
            self._store(file, raw)
            return self._noted(file, Form.BLOCKS, increment.length_in_blocks(raw))
        digest = hashlib.blake2b(raw, digest_size=_DIGEST_SIZE).digest() if raw else None
        if digest is not None and self._is_same(file, digest):
            return self._noted(file, Form.SAME, digest=digest)
        self._store(file, raw)
        return self._noted(file, Form.FULL, digest=digest)

    def _large(self, file: _Arriving) -> File:
        if file.incremental:
            blocks = increment.length_in_blocks(file.header)
            return self._noted(file, Form.BLOCKS, blocks)
        return self._noted(file, Form.FULL)

    def _is_same(self, file: _Arriving, digest: bytes) -> bool:
        parent = self._parent.get(file.path)
        return (
            parent is not None
            and (parent.digest, parent.size, parent.crc32c) == (digest, file.size, file.crc32c)
            and file.place is not None
            and not rose(parent.place, file.place)
        )

    def _store(self, file: _Arriving, raw: bytes) -> None:
        if raw:
            self._open_group(file)
        if file.group is not None:
            self._packs.write(file.group, memoryview(raw))

    def _noted(
        self, file: _Arriving, form: Form, blocks: int | None = None, digest: bytes | None = None
    ) -> File:
        return File(
            file.path,
            form,
            file.place or Tier.S3,  # what is in PENDING gets its own place later
            file.size,
            file.crc32c,
            file.group,
            file.offset,
            blocks,
            digest,
        )


class Archives:
    """A receiver that passes the archives to a splitter and collects the server's manifest."""

    def __init__(self, splitter: Splitter, advance: Advance, expect: Advance) -> None:
        self._splitter = splitter
        self._advance = advance
        self._expect = expect
        self._tar = TarStream(splitter)
        self._manifest = bytearray()

    def expected(self, size: int) -> None:
        self._expect(size)

    def archive(self, tablespace: int | None) -> None:
        self._tar.close()
        self._tar = TarStream(
            self._splitter, "" if tablespace is None else f"pg_tblspc/{tablespace}/"
        )

    def content(self, piece: memoryview) -> None:
        self._tar.feed(piece)
        self._advance(len(piece))

    def manifest(self, piece: memoryview) -> None:
        self._manifest += piece

    def waiting(self) -> None:
        self._advance(0)

    def finish(self) -> bytes:
        """Return the server's manifest. Raises BackupError if the last archive was cut short."""
        self._tar.close()
        return bytes(self._manifest)


def server_path(file: File) -> str:
    """Return the path as it stands in the server's manifest."""
    if file.form not in (Form.BLOCKS, Form.UNCHANGED):
        return file.path
    folder, slash, name = file.path.rpartition("/")
    return folder + slash + increment.PREFIX + name
