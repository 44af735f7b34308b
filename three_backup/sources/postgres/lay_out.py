"""Put the needed files of a chain on disk as data directories, and combine these into one."""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import crc32c

from three_backup.command import Program, run
from three_backup.errors import BackupError
from three_backup.sources.postgres.binaries import Binaries
from three_backup.sources.postgres.chain import Link
from three_backup.sources.postgres.index import File, Form, Index
from three_backup.sources.postgres.pack import PackReader
from three_backup.sources.postgres.scratch_folder import own

_INCREMENTAL = "INCREMENTAL."
_INCREMENTAL_MAGIC = 0xD3AE1F0D
_TABLESPACE_MAP = "tablespace_map"
_WORTH_A_STAND_IN = 128 << 10
"""Below this a missing relation costs recovery less than the file that would stand in."""


def lay_out_chain(
    chain: Sequence[tuple[PackReader, Index, Link]], folder: Path, user: str | None
) -> list[Path]:
    """A data directory per link, the base first, all the user's own.

    Tablespaces become plain directories under pg_tblspc. Raises BackupError where a byte differs
    from what the index says, or the disk is full.
    """
    laid_out: list[Path] = []
    with _disk(folder):
        for number, (reader, index, link) in enumerate(chain):
            directory = folder / f"link{number}"
            older = laid_out[-1] if laid_out else None
            _make_directories(directory, index, link, user)
            _fetch(reader, link.fetch, directory, user)
            _write_stubs(link.stubs, directory, user)
            _take_same(link.same, older, directory)
            (directory / _TABLESPACE_MAP).unlink(missing_ok=True)
            laid_out.append(directory)
    return laid_out


def combine(
    binaries: Binaries, links: Sequence[Path], pgdata: Path, user: str | None, manifest: bool
) -> None:
    """Make one data directory out of the links by pg_combinebackup, with or without a manifest."""
    argv = [binaries["pg_combinebackup"], "--no-sync", f"--output={pgdata}"]
    argv += [] if manifest else ["--no-manifest"]
    run(Program([*argv, *map(str, links)], user=user, code="postgres.combine", what="postgres"))


def put_stand_ins(stand_ins: Mapping[str, int], pgdata: Path, user: str | None) -> None:
    """Files without content, of the lengths given, where nothing was laid out."""
    with _disk(pgdata):
        for path, length in stand_ins.items():
            target = _inside(pgdata, path)
            if length >= _WORTH_A_STAND_IN and target.parent.is_dir() and not target.exists():
                with _created(target, user) as file:
                    os.ftruncate(file, length)


def _make_directories(directory: Path, index: Index, link: Link, user: str | None) -> None:
    wanted = {_inside(directory, path) for path in index.directories}
    wanted |= {_inside(directory, file.path).parent for file in link.files}
    wanted |= {_inside(directory, path).parent for path in link.same}
    parents = {parent for path in wanted for parent in path.parents if directory in parent.parents}
    for path in sorted({directory} | wanted | parents):
        path.mkdir(mode=0o700, exist_ok=True)
        own(path, user)


def _fetch(reader: PackReader, files: Iterable[File], directory: Path, user: str | None) -> None:
    """Write the stored bytes of the files, each checked by its CRC32C."""
    unfinished = {file.path: (0, 0) for file in files}
    for file in files:
        with _created(_stored_as(directory, file), user):
            if not file.size:
                del unfinished[file.path]
    for file, offset, piece in reader.pieces(files):
        position, checksum = unfinished.pop(file.path)
        with (_stored_as(directory, file)).open("r+b") as output:
            output.seek(offset)
            output.write(piece)
        position, checksum = position + len(piece), crc32c.crc32c(piece, checksum)
        if position < file.size:
            unfinished[file.path] = (position, checksum)
        elif checksum != file.crc32c:
            raise _damaged(file.path, "its checksum is another")
    if unfinished:
        raise _damaged(min(unfinished), "it is stored only in part")


def _write_stubs(files: Iterable[File], directory: Path, user: str | None) -> None:
    for file in files:
        with _created(_stored_as(directory, file), user) as output:
            os.write(output, struct.pack("<III", _INCREMENTAL_MAGIC, 0, file.blocks or 0))


def _take_same(paths: Iterable[str], older: Path | None, directory: Path) -> None:
    for path in paths:
        if older is None:
            raise _damaged(path, "a base refers to a snapshot before it")
        os.link(_inside(older, path), _inside(directory, path))


def _stored_as(directory: Path, file: File) -> Path:
    path = _inside(directory, file.path)
    whole = file.form not in (Form.BLOCKS, Form.UNCHANGED)
    return path if whole else path.with_name(_INCREMENTAL + path.name)


def _inside(directory: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise _damaged(path, "the path leads out of the data directory")
    return directory.joinpath(*parts)


@contextmanager
def _created(path: Path, user: str | None) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        own(path, user)
        yield file
    finally:
        os.close(file)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(
            "postgres.scratch_disk",
            f"postgres: the snapshot cannot be laid out in {folder}: {error.strerror}",
            "make room there, or set scratch_dir to a folder with more of it",
        ) from error


def _damaged(path: str, why: str) -> BackupError:
    return BackupError(
        "postgres.file_damaged",
        f"postgres: {path} in the snapshot is damaged ({why})",
        "restore another snapshot",
    )
