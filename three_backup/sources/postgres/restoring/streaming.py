"""Streams the rows of a query on the scratch server into a table of the target."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_BATCH_SIZE = 256 << 10


def stream_rows(
    scratch: "Connection", target: "Connection", rows: str, into: str
) -> tuple[int, int]:
    """Return how many rows were sent, and how many arrived. rows, into: as COPY spells them."""
    encoding = _encoding(scratch)
    reading, writing = scratch.cursor(), target.cursor()
    with (
        reading.copy(f"COPY {rows} TO STDOUT {encoding}".encode()) as given,
        writing.copy(f"COPY {into} FROM STDIN {encoding}".encode()) as taken,
    ):
        for batch in _batches(given):
            taken.write(batch)
    return reading.rowcount, writing.rowcount


def _encoding(scratch: "Connection") -> str:
    """Return COPY's encoding option: only the target can check what SQL_ASCII bytes mean."""
    ((encoding,),) = scratch.execute("SHOW server_encoding")
    return "WITH (ENCODING 'SQL_ASCII')" if encoding == "SQL_ASCII" else ""


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
