"""Durable writes: after a power cut a file is whole, with its old or its new content."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def write_durably(path: Path, body: bytes, mode: int = 0o600) -> None:
    """Replace the file by body; a crash leaves the old or the new content, never a part.

    Safe in a folder where another user puts links under our hands: none is followed.
    """
    _write_beside(path, body, mode).rename(path)
    sync_directory(path.parent)


def create_durably(path: Path, body: bytes, mode: int = 0o600) -> None:
    """Write a file that must not be there yet, whole or not at all. Raises FileExistsError."""
    try:
        # Unlike a rename, a link replaces nothing.
        path.hardlink_to(_write_beside(path, body, mode))
    finally:
        path.with_name(torn(path.name)).unlink(missing_ok=True)
    sync_directory(path.parent)


def torn(name: str) -> str:
    """Return the name of the temporary file that a killed write leaves beside name."""
    return f".{name}.new"


def _write_beside(path: Path, body: bytes, mode: int) -> Path:
    temporary = path.with_name(torn(path.name))
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:
        file.write(body)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return temporary


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_disks(folders: Iterable[Path]) -> None:
    """Make all that was written to the file systems of the folders durable.

    For many files, this takes one request a file system where fsync() would take one a file.
    """
    for folder in {folder.stat().st_dev: folder for folder in folders}.values():
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _LIBC.syncfs(descriptor):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(folder))
        finally:
            os.close(descriptor)
