"""Write the needed files of a chain to disk as data directories, and combine them into one."""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import crc32c

from three_backup.command import run
from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.links import Link
from three_backup.sources.postgres.index import File, Form, Index
from three_backup.sources.postgres.pack import PackReader
from three_backup.sources.postgres.scratch.binaries import Binaries, worker
from three_backup.sources.postgres.scratch.folder import acting_as

MANIFEST = "backup_manifest"

_INCREMENTAL = "INCREMENTAL."
_INCREMENTAL_MAGIC = 0xD3AE1F0D
_WORTH_A_STAND_IN = 128 << 10
"""Bytes. A smaller missing relation costs recovery less than a stand-in file for it."""


def lay_out_chain(
    chain: Sequence[tuple[PackReader, Index, Link]], folder: Path, user: str | None
) -> list[Path]:
    """Write a data directory per link, owned by user, and return them, the base first.

    Tablespaces become plain directories under pg_tblspc. Raises BackupError if a byte differs
    from what the index says, or the disk is full.
    """
    laid_out: list[Path] = []
    with _disk(folder):
        for number, (reader, index, link) in enumerate(chain):
            directory = folder / f"link{number}"
            older = laid_out[-1] if laid_out else None
            newest = number == len(chain) - 1
            _make_directories(directory, index.directories if newest else (), link, user)
            _fetch(reader, link.fetch, directory, user)
            _write_stubs(link.stubs, directory, user)
            _take_same(link.same, older, directory, user)
            laid_out.append(directory)
    return laid_out


def combine(
    binaries: Binaries,
    links: Sequence[Path],
    pgdata: Path,
    user: str | None,
    options: Sequence[str] = ("--no-manifest",),
) -> None:
    """Combine the links' data directories into pgdata with pg_combinebackup."""
    argv = [binaries["pg_combinebackup"], "--no-sync", f"--output={pgdata}", *options]
    argv += map(str, links)
    run(worker(argv, user, code="postgres.combine"))


def write_manifest(directory: Path, manifest: bytes, user: str | None) -> None:
    """Write the server's own backup manifest to where pg_combinebackup looks for it."""
    with _disk(directory):
        _append(directory / MANIFEST, manifest, user)


def put_stand_ins(stand_ins: Mapping[str, int], pgdata: Path, user: str | None) -> None:
    """Make sparse files of the given lengths (bytes) for the paths that were not laid out."""
    with _disk(pgdata), acting_as(user):
        for path, length in stand_ins.items():
            target = _inside(pgdata, path)
            if length >= _WORTH_A_STAND_IN and target.parent.is_dir() and not target.exists():
                with _opened(target) as output:
                    output.truncate(length)


def _make_directories(directory: Path, paths: Iterable[str], link: Link, user: str | None) -> None:
    wanted = {_inside(directory, path) for path in paths}
    wanted |= {_inside(directory, file.path).parent for file in link.files}
    wanted |= {_inside(directory, path).parent for path in link.same}
    parents = {parent for path in wanted for parent in path.parents if directory in parent.parents}
    with acting_as(user):
        for path in sorted({directory} | wanted | parents):
            path.mkdir(mode=0o700, exist_ok=True)


def _fetch(reader: PackReader, files: Iterable[File], directory: Path, user: str | None) -> None:
    """Write the stored bytes of the files, and check each file's CRC32C."""
    unfinished = {file.path: 0 for file in files if file.size}
    for file in files:
        if not file.size:
            _append(_stored_as(directory, file), b"", user)
    for file, offset, piece in reader.pieces(files):
        _append(_stored_as(directory, file), piece, user)
        checksum = crc32c.crc32c(piece, unfinished.pop(file.path))
        if offset + len(piece) < file.size:
            unfinished[file.path] = checksum
        elif checksum != file.crc32c:
            raise _damaged(file.path, "its checksum is another")
    if unfinished:
        raise _damaged(min(unfinished), "it is stored only in part")


def _write_stubs(files: Iterable[File], directory: Path, user: str | None) -> None:
    for file in files:
        stub = struct.pack("<III", _INCREMENTAL_MAGIC, 0, file.blocks or 0)
        _append(_stored_as(directory, file), stub, user)


def _take_same(
    paths: Iterable[str], older: Path | None, directory: Path, user: str | None
) -> None:
    with acting_as(user):
        for path in paths:
            if older is None:
                raise _damaged(path, "a base refers to a snapshot before it")
            os.link(_inside(older, path), _inside(directory, path))


def _stored_as(directory: Path, file: File) -> Path:
    if file.form not in (Form.BLOCKS, Form.UNCHANGED):
        return _inside(directory, file.path)
    folder, slash, name = file.path.rpartition("/")
    return _inside(directory, f"{folder}{slash}{_INCREMENTAL}{name}")


def _inside(directory: Path, path: str) -> Path:
    if not path or path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise _damaged(path, "the path leads out of the data directory")
    return directory / path


def _append(path: Path, content: bytes | memoryview, user: str | None) -> None:
    """Append to the file as the user would; make it if it is missing."""
    with acting_as(user):
        output = _opened(path)
    with output:
        output.write(content)


def _opened(path: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb")


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
