"""Streams the rows of a query on the scratch server into a table of the target."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_BATCH_SIZE = 256 << 10


def stream_rows(
    scratch: "Connection", target: "Connection", rows: str, into: str
) -> tuple[int, int]:
    """Return how many rows were sent, and how many arrived. rows, into: as COPY spells them."""
    encoding = _encoding(scratch, target)
    reading, writing = scratch.cursor(), target.cursor()
    with (
        reading.copy(f"COPY {rows} TO STDOUT {encoding}".encode(*AS_BYTES)) as given,
        writing.copy(f"COPY {into} FROM STDIN {encoding}".encode(*AS_BYTES)) as taken,
    ):
        for batch in _batches(given):
            taken.write(batch)
    return reading.rowcount, writing.rowcount


def _encoding(scratch: "Connection", target: "Connection") -> str:
    """Return COPY's encoding option: only the target can check what SQL_ASCII bytes mean.

    Between databases of one encoding nothing is converted: a byte may be no character of it.
    """
    source, here = (
        connection.info.parameter_status("server_encoding") for connection in (scratch, target)
    )
    return f"WITH (ENCODING '{source if source in ('SQL_ASCII', here) else 'UTF8'}')"


def _batches(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """Yield the rows in batches, since every call costs time."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row)
        if size >= _BATCH_SIZE:
            yield b"".join(batch)
            batch, size = [], 0
    yield b"".join(batch)
