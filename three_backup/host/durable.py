"""Writing so that a power cut leaves the whole of what was written, or what was there before."""

import os
from pathlib import Path


def write_durably(path: Path, body: bytes, mode: int = 0o600) -> None:
    """The whole of body under the name, or what stood there before; never a part."""
    temporary = path.with_name(torn(path.name))
    with temporary.open("wb") as file:
        file.write(body)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def torn(name: str) -> str:
    """The name of what a killed write of the name leaves."""
    return f".{name}.new"


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
