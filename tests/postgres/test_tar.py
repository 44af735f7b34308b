"""Archives of BASE_BACKUP are taken apart, whatever the sizes of their pieces."""

import io
import tarfile
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import BackupError
from three_backup.sources.postgres.taking.tar import (
    BLOCK,
    Member,
    MemberType,
    TarStream,
    parse_header,
)

_NAMES = st.text("abc_.09/", min_size=1, max_size=40).filter(
    lambda name: not name.startswith(("/", "./")) and not name.endswith("/") and "//" not in name
)


@dataclass
class _Collected:
    members: list[Member] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    ended: int = 0

    def begin(self, member: Member) -> None:
        assert self.ended == len(self.members)
        self.members.append(member)
        self.bodies.append(b"")

    def content(self, piece: memoryview) -> None:
        self.bodies[-1] += piece

    def end(self) -> None:
        self.ended += 1


@given(st.lists(st.tuples(_NAMES, st.binary(max_size=2000))), st.integers(1, 3000))
def test_files_come_out_as_they_went_in(files: list[tuple[str, bytes]], step: int) -> None:
    archive = _archive(files)
    collected = _Collected()
    stream = TarStream(collected, "pg_tblspc/5/")
    for start in range(0, len(archive), step):
        stream.feed(memoryview(archive)[start : start + step])
    stream.close()
    found = zip(collected.members, collected.bodies, strict=True)
    assert [(member.name, body) for member, body in found] == [
        (f"pg_tblspc/5/{name}", body) for name, body in files
    ]
    assert collected.ended == len(files)


@pytest.mark.parametrize("missing", [1, 100, BLOCK, BLOCK + 1])
def test_an_archive_cut_short_is_an_error_not_an_end(missing: int) -> None:
    archive = _archive([("one", b"x" * 700)])[: 3 * BLOCK]
    stream = TarStream(_Collected())
    stream.feed(memoryview(archive)[: len(archive) - missing])
    with pytest.raises(BackupError, match="it stops in the middle of a file"):
        stream.close()


def test_folders_and_links_are_named_without_dots_and_slashes() -> None:
    folder = tarfile.TarInfo("./pg_wal/archive_status/")
    folder.type = tarfile.DIRTYPE
    link = tarfile.TarInfo("pg_tblspc/16390")
    link.type, link.linkname = tarfile.SYMTYPE, "/elsewhere"
    assert parse_header(_header(folder)) == Member(
        "pg_wal/archive_status", MemberType.DIRECTORY, 0
    )
    assert parse_header(_header(link)) == Member("pg_tblspc/16390", MemberType.LINK, 0)


def test_a_size_too_large_for_octal_digits_is_read() -> None:
    large = tarfile.TarInfo("base/5/16391")
    large.size = 20 << 30
    header = large.tobuf(tarfile.GNU_FORMAT)[:BLOCK]
    assert header[124] & 0x80
    assert parse_header(header).size == 20 << 30


@pytest.mark.parametrize(
    "type_flag", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.FIFOTYPE]
)
def test_what_postgresql_never_sends_is_refused(type_flag: bytes) -> None:
    member = tarfile.TarInfo("strange")
    member.type = type_flag
    with pytest.raises(BackupError, match="the stream of the backup is malformed"):
        parse_header(_header(member))


@given(st.integers(0, 147) | st.integers(156, BLOCK - 1), st.integers(1, 255))
def test_a_damaged_header_is_refused(position: int, change: int) -> None:
    header = bytearray(_header(tarfile.TarInfo("base/5/16391")))
    header[position] ^= change
    with pytest.raises(BackupError, match="the checksum of a header is wrong"):
        parse_header(bytes(header))


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.USTAR_FORMAT)


def _archive(files: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in files:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()
