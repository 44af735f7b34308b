"""Streams the rows of a query on the scratch server into a table of the target."""

from collections.abc import Generator
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.copied_out import copied_out

if TYPE_CHECKING:
    import psycopg

    from three_backup.sources.postgres.connection import Connection


def stream_rows(
    scratch: "Connection", target: "Connection", rows: str, into: str
) -> tuple[int, int]:
    """Return how many rows were sent, and how many arrived. rows, into: as COPY spells them."""
    encoding = _encoding(scratch, target)
    given = copied_out(scratch, f"COPY {rows} TO STDOUT {encoding}".encode(*AS_BYTES))
    writing = target.cursor()
    with writing.copy(f"COPY {into} FROM STDIN {encoding}".encode(*AS_BYTES)) as taken:
        sent = _poured(given, taken)
    return sent, writing.rowcount


def _poured(given: Generator[bytes, None, int], taken: "psycopg.Copy") -> int:
    """Write all pieces, and return what is given at their end."""
    while True:
        try:
            taken.write(next(given))
        except StopIteration as end:
            return int(end.value)


def _encoding(scratch: "Connection", target: "Connection") -> str:
    """Return COPY's encoding option: only the target can check what SQL_ASCII bytes mean.

    Between databases of one encoding nothing is converted: a byte may be no character of it.
    """
    source, here = (
        connection.info.parameter_status("server_encoding") for connection in (scratch, target)
    )
    return f"WITH (ENCODING '{source if source in ('SQL_ASCII', here) else 'UTF8'}')"
