"""Which cluster a file of WAL, or a data directory, is of: read from the files themselves."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier

# Of the first page of a segment: magic, flags, timeline, position, bytes of a record that goes on
# there; then, if it is long, system identifier, sizes of segments and of pages.
_HEADER = struct.Struct("=HHIQI4xQII")
_LONG = 2
_IDENTIFIER = struct.Struct("=Q")
_SIZES = frozenset((1 << 20) << shift for shift in range(11))


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of a segment."""

    start: int  # position
    identifier: str  # of the cluster
    segment_size: int  # bytes

    @classmethod
    def parse(cls, content: bytes | memoryview) -> Self | None:
        """Return the header; None if the content does not begin as a segment does."""
        if len(content) < _HEADER.size:
            return None
        _, flags, _, start, _, identifier, size, _ = _HEADER.unpack_from(content)
        if not flags & _LONG or size not in _SIZES or start % size:
            return None
        return cls(start, str(identifier), size)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the header of a file. Raises BackupError."""
        with path.open("rb") as file:
            found = cls.parse(file.read(_HEADER.size))
        if found is None:
            raise BackupError(
                "postgres.no_wal",
                f"{path}: this is no segment of WAL",
                "give tb-wal what the server puts in place of %p",
            )
        return found


def carrier_of(identifier: str) -> Carrier:
    return Carrier(f"postgres/cluster/{identifier}")


def cluster_at(data_directory: Path) -> Carrier | None:
    """Return the carrier of the cluster in a data directory; None if it is none."""
    try:
        with (data_directory / "global" / "pg_control").open("rb") as file:
            (identifier,) = _IDENTIFIER.unpack(file.read(_IDENTIFIER.size))
    except (FileNotFoundError, NotADirectoryError, struct.error):
        return None
    return carrier_of(str(identifier))
