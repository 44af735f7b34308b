"""The backup_label of each link: it names the link before, and where a server starts from."""

import re
from collections.abc import Sequence

from three_backup.errors import BackupError
from three_backup.sources.postgres.index import File

LABEL = "backup_label"

_INCREMENTAL = re.compile(rb"^INCREMENTAL FROM (?:LSN|TLI): (\S+)\n", re.MULTILINE)
_START = re.compile(
    rb"^START WAL LOCATION: (\S+) .*^START TIMELINE: (\d+)", re.MULTILINE | re.DOTALL
)


class Labels:
    """The labels of a chain, while they arrive."""

    def __init__(self, files: Sequence[File]) -> None:
        """files: the label of each link, the base first."""
        self._contents = {id(file): bytearray(file.size) for file in files}

    def add(self, file: File, offset: int, piece: memoryview) -> bool:
        """Take a piece if it is of a label; tell whether it was."""
        content = self._contents.get(id(file))
        if content is None:
            return False
        content[offset : offset + len(piece)] = piece
        return True

    def whole(self) -> bytes:
        """Return the newest label, once all have come, for a data directory that is no increment.

        Raises BackupError unless each link was made on top of the one before.
        """
        before: tuple[bytes, ...] = ()
        for number, label in enumerate(self._contents.values(), 1):
            if tuple(_INCREMENTAL.findall(label)) != before:
                raise _broken(number, "it was made on top of another one than that before it")
            found = _START.search(label)
            if found is None:
                raise _broken(number, "its backup_label does not say where it begins")
            before = found.groups()
        return _INCREMENTAL.sub(b"", label)


def _broken(number: int, why: str) -> BackupError:
    return BackupError(
        "postgres.chain_broken",
        f"postgres: snapshot {number} of the chain does not follow: {why}",
        "restore another snapshot",
    )
