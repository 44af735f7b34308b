"""The folders, the stand-ins and the paths of a data directory that is laid out."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.layers import damaged
from three_backup.sources.postgres.scratch.folder import acting_as

_WORTH_A_STAND_IN = 128 << 10
"""Bytes. A smaller missing relation costs recovery less than a stand-in file for it."""


def make_directories(
    directory: Path, directories: Iterable[str], files: Iterable[str], user: str | None
) -> None:
    """Make the directories, and those that the files lie in, as the user."""
    wanted = {inside(directory, path) for path in directories}
    wanted |= {inside(directory, path).parent for path in files}
    parents = {parent for path in wanted for parent in path.parents if directory in parent.parents}
    with acting_as(user):
        for path in sorted({directory} | wanted | parents):
            path.mkdir(mode=0o700, exist_ok=True)


def put_stand_ins(stand_ins: Mapping[str, int], pgdata: Path, user: str | None) -> None:
    """Make sparse files of the given lengths (bytes) for the paths that were not laid out."""
    with on_disk(pgdata), acting_as(user):
        for path, length in stand_ins.items():
            target = inside(pgdata, path)
            if length >= _WORTH_A_STAND_IN and target.parent.is_dir() and not target.exists():
                write_new(target, b"")
                os.truncate(target, length)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist, whatever somebody links there meanwhile."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def inside(directory: Path, path: str) -> Path:
    """Return the path below the directory. Raises BackupError if it would leave it."""
    if not path or path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise damaged(path, "the path leads out of the data directory")
    return directory / path


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Explain an OSError of what is written to the folder."""
    try:
        yield
    except OSError as error:
        raise BackupError(
            "postgres.scratch_disk",
            f"postgres: the snapshot cannot be laid out in {folder}: {error.strerror}",
            "make room there, or set scratch_dir to a folder with more of it",
        ) from error
