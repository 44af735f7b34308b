"""Segments that tb-wal fetch has fetched before the server asks for them, below `local_dir`.

They may be lost at any time.
"""

import hashlib
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


class Ahead:
    """Whole segments that were fetched ahead.

    Nothing of them is flushed to the disk, so that none outlives a crash of this host.
    """

    def __init__(self, storage: Storage, carrier: Carrier) -> None:
        self._folder = _folder(storage, carrier)

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


def _folder(storage: Storage, carrier: Carrier) -> Path:
    place = f"{storage.endpoint} {storage.bucket}/{storage.prefix} {carrier}"
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    return storage.local_dir / "wal" / name / f"fetched-{boot_id()}"


def _keep(folder: Path, names: Collection[str]) -> None:
    with suppress(OSError):
        for file in folder.iterdir():
            if file.name not in names:
                file.unlink(missing_ok=True)
