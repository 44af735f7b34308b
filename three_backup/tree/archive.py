"""Writes a tree as a tar in the pax format, as GNU tar has it, with all that a file has.

Names are written as the bytes that they are, and holes as holes.
"""

import errno
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from tarfile import TarInfo

from three_backup.errors import BackupError
from three_backup.tree.attributes import attributes
from three_backup.tree.request import Owners
from three_backup.tree.walk import Entry

_BLOCK = 512
_PIECE = 1 << 20
_LONGEST = 100  # bytes of a name in the old header
_LARGEST = 8**11
_LARGEST_ID = 8**7
_END = bytes(2 * _BLOCK)
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}

Extent = tuple[int, int]
"""Where data lies in a file, and how long it is."""


@dataclass(slots=True)
class Archive:
    """A tar that is being written."""

    owners: Owners
    _linked: dict[int, str] = field(default_factory=dict)  # the first paths of files with several

    def pieces(self, entries: Iterator[Entry]) -> Iterator[bytes]:
        for entry in entries:
            if not stat.S_ISSOCK(entry.status.st_mode):  # lives only with its server
                yield from self._member(entry)
        yield _END

    def _member(self, entry: Entry) -> Iterator[bytes]:
        if (first := self._known(entry)) is not None:
            yield _headers(self._info(entry, tarfile.LNKTYPE), entry.path, first, {})
            return
        info = self._info(entry, _TYPES[stat.S_IFMT(entry.status.st_mode)])
        records = dict(attributes(entry, self.owners))
        path = f"{entry.path}/" if entry.is_folder else entry.path
        if not info.isreg():
            yield _headers(info, path, entry.target if entry.is_link else "", records)
            return
        file = entry.opened()
        try:
            yield from _file(file, info, path, records)
        finally:
            os.close(file)

    def _known(self, entry: Entry) -> str | None:
        """Return the path under which the file is in the archive already."""
        status = entry.status
        if entry.is_folder or status.st_nlink == 1:
            return None
        first = self._linked.setdefault(status.st_ino, entry.path)
        return None if first == entry.path else first

    def _info(self, entry: Entry, kind: bytes) -> TarInfo:
        status, info = entry.status, TarInfo()
        info.type = kind
        info.mode = stat.S_IMODE(status.st_mode)
        info.uid, info.gid = self.owners.user(status.st_uid), self.owners.group(status.st_gid)
        info.size = status.st_size if kind == tarfile.REGTYPE else 0
        info.mtime = status.st_mtime_ns
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        return info


def _file(file: int, info: TarInfo, path: str, records: Mapping[str, bytes]) -> Iterator[bytes]:
    extents = data_in(file, info.size)
    before = b""
    if sum(length for _, length in extents) < info.size:
        before = _hole_map(extents, info.size)
        records = {**records, **_sparse(path, info.size)}
        info.size = len(before) + sum(length for _, length in extents)
    yield _headers(info, path, "", records)
    yield before
    for start, length in extents:
        yield from _data(file, start, length, path)
    yield bytes(-info.size % _BLOCK)


def data_in(file: int, size: int) -> list[Extent]:
    """Return where there is data; the rest are holes."""
    found, place = list[Extent](), 0
    while place < size:
        try:
            start = os.lseek(file, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        place = min(os.lseek(file, start, os.SEEK_HOLE), size)
        found.append((start, place - start))
    return found


def _data(file: int, start: int, length: int, path: str) -> Iterator[bytes]:
    end = start + length
    while start < end:
        piece = os.pread(file, min(_PIECE, end - start), start)
        if not piece:
            raise BackupError("short", f"{path}: it ends at byte {start}, before its size")
        yield piece
        start += len(piece)


def _sparse(path: str, size: int) -> dict[str, bytes]:
    return {
        "GNU.sparse.major": b"1",
        "GNU.sparse.minor": b"0",
        "GNU.sparse.name": os.fsencode(path),
        "GNU.sparse.realsize": b"%d" % size,
    }


def _hole_map(extents: Sequence[Extent], size: int) -> bytes:
    """Return the map of a sparse file, which stands before its data."""
    whole = list(extents)
    if not whole or sum(whole[-1]) < size:
        whole.append((size, 0))
    numbers = [len(whole), *(number for extent in whole for number in extent)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(-len(text) % _BLOCK)


def _headers(info: TarInfo, path: str, target: str, records: Mapping[str, bytes]) -> bytes:
    """Return the header of a member, and before it what the header has no room for.

    The time of the member is in nanoseconds.
    """
    needed = {**_texts(path, target), **_numbers(info), **records}
    info.name, info.linkname = _short(path), _short(target)
    own = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    if not needed:
        return own
    body = b"".join(_record(*pair) for pair in needed.items())
    before = TarInfo(_short(f"PaxHeaders/{path.rstrip('/').rpartition('/')[2]}"))
    before.type, before.size = tarfile.XHDTYPE, len(body)
    head = before.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    return head + body + bytes(-len(body) % _BLOCK) + own


def _texts(path: str, target: str) -> dict[str, bytes]:
    found = {"path": os.fsencode(path), "linkpath": os.fsencode(target)}
    return {
        name: text for name, text in found.items() if len(text) > _LONGEST or not text.isascii()
    }


def _numbers(info: TarInfo) -> dict[str, bytes]:
    """Return the numbers that the header has no room for, and set them there to what it has."""
    seconds, rest = divmod(int(info.mtime), 10**9)
    found = {}
    if rest or not 0 <= seconds < _LARGEST:
        found["mtime"] = _decimal(int(info.mtime))
    info.mtime = seconds if 0 <= seconds < _LARGEST else 0
    if info.size >= _LARGEST:
        found["size"], info.size = b"%d" % info.size, 0
    if info.uid >= _LARGEST_ID:
        found["uid"], info.uid = b"%d" % info.uid, 0
    if info.gid >= _LARGEST_ID:
        found["gid"], info.gid = b"%d" % info.gid, 0
    return found


def _decimal(nanoseconds: int) -> bytes:
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return b"%s%d.%09d" % (b"-" if nanoseconds < 0 else b"", seconds, rest)


def _short(text: str) -> str:
    return os.fsencode(text)[:_LONGEST].decode("utf-8", "ignore")


def _record(keyword: str, value: bytes) -> bytes:
    """Return a record of pax: its length, which counts its own digits, the keyword, the value."""
    rest = b" %s=%s\n" % (os.fsencode(keyword), value)
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)
