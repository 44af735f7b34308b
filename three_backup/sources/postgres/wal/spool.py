"""What tb-wal keeps on this host from one call to the next, below `local_dir`.

Notes of segments that were stored before the server asked for it, and segments that were fetched
before it does. All of it may be lost at any time.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from errno import EXDEV
from pathlib import Path

from three_backup.host.durable import torn
from three_backup.host.processes import boot_id
from three_backup.model.objects import Carrier
from three_backup.model.storage import Storage


class Notes:
    """Notes of the files that are stored and checked, each by the very file."""

    def __init__(self, storage: Storage, carrier: Carrier) -> None:
        self._folder = _folder(storage, carrier, "pushed")

    def has(self, path: Path) -> bool:
        """Tell whether this very file is noted."""
        with suppress(OSError, ValueError):
            return bool(json.loads((self._folder / path.name).read_bytes()) == identity(path))
        return False

    def add(self, name: str, noted: list[int]) -> None:
        """Note a file by its identity. On a full disk nothing is noted, which costs a look."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._folder / torn(name)
            temporary.write_text(json.dumps(noted))
            temporary.rename(self._folder / name)

    def keep(self, names: Collection[str]) -> None:
        """Remove all other notes."""
        _keep(self._folder, names)


class Ahead:
    """Whole segments that were fetched ahead.

    Nothing of them is flushed to the disk, so that none outlives a crash of this host.
    """

    def __init__(self, storage: Storage, carrier: Carrier) -> None:
        self._folder = _folder(storage, carrier, f"fetched-{boot_id()}")

    def give(self, name: str, path: Path) -> bool:
        """Move a segment to the path; return whether it is there."""
        file = self._folder / name
        try:
            file.rename(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno != EXDEV:
                raise
            with written(path) as temporary:
                shutil.copyfile(file, temporary)
            file.unlink(missing_ok=True)
        return True

    def place(self, name: str) -> Path:
        """Return where a segment belongs."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder / name

    def has(self, name: str) -> bool:
        return (self._folder / name).exists()

    def keep(self, names: Collection[str]) -> None:
        """Remove all other segments, and what was fetched before this host was started."""
        for folder in self._folder.parent.glob("fetched-*"):
            if folder != self._folder:
                shutil.rmtree(folder, ignore_errors=True)
        _keep(self._folder, names)


def identity(path: Path) -> list[int]:
    """Return what tells a file from any other, and from itself after a change."""
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside; at the end it is renamed, after a failure removed."""
    temporary = path.with_name(torn(f"{path.name}-{os.getpid()}"))
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _folder(storage: Storage, carrier: Carrier, kind: str) -> Path:
    place = f"{storage.endpoint} {storage.bucket}/{storage.prefix} {carrier}"
    return storage.local_dir / "wal" / hashlib.sha256(place.encode()).hexdigest()[:16] / kind


def _keep(folder: Path, names: Collection[str]) -> None:
    with suppress(OSError):
        for file in folder.iterdir():
            if file.name not in names:
                file.unlink(missing_ok=True)
