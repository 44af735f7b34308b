"""Notes of files that are done with, for a program that is started anew for each of them.

It is asked before much else is imported: the start of Python is most of what such a call costs.
All notes may be lost at any time.
"""

import json
import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from time import time

_LOCAL_DIR = re.compile(r"^[ \t]*local_dir[ \t]*:[ \t]*([^\s#'\"]+)[ \t]*$", re.MULTILINE)
_OLD = 3600.0
"""Seconds after which a note that is of no use is removed."""


class Notes:
    """Notes below a local_dir. Each is of the very file, and of the configuration as it was."""

    def __init__(self, local_dir: Path, configuration: Path | None) -> None:
        """configuration: its file."""
        self._folder = local_dir / "wal" / "pushed"
        self._configuration = configuration

    @classmethod
    def told_by(cls, configuration: Path, default: Path) -> "Notes":
        """Return the notes of a configuration that need not be understood.

        default: the local_dir where it names none. If it names several, or writes one in another
        way, nothing is found.
        """
        found = _LOCAL_DIR.findall(configuration.read_text("utf-8-sig"))
        return cls(Path(found[0]) if len(found) == 1 else default, configuration)

    def has(self, path: Path) -> bool:
        """Tell whether this very file is noted."""
        with suppress(OSError, ValueError):
            return bool(json.loads(self._place(path).read_bytes()) == self._note(identity(path)))
        return False

    def add(self, path: Path, noted: list[int]) -> None:
        """Note a file by its identity. On a full disk nothing is noted, which costs a look."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = self._place(path)
            temporary = place.with_name(f".{place.name}")
            temporary.write_text(json.dumps(self._note(noted)))
            temporary.replace(place)

    def forget_old(self, kept: Collection[Path]) -> None:
        """Remove old notes of other files."""
        with suppress(OSError):
            places = set(map(self._place, kept))
            for place in self._folder.iterdir():
                if place not in places and time() - place.stat().st_mtime > _OLD:
                    place.unlink()

    def _place(self, path: Path) -> Path:
        found = path.stat()
        return self._folder / f"{path.name}-{found.st_dev}-{found.st_ino}"

    def _note(self, noted: list[int]) -> list[object]:
        """Return the note: besides the file, it holds what says where that was brought."""
        configuration = self._configuration
        read = None if configuration is None else [str(configuration), *identity(configuration)]
        return [noted, read, os.uname().nodename]


def identity(path: Path) -> list[int]:
    """Return what tells a file from any other, and from itself after a change."""
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
